//! What becomes of an image in the format of today: a libxl stream.

use super::{
    Extended, Kind, Legacy,
    body::{Page, Part},
    legacy::{MAGIC_PAGES, TSC},
    number,
};

impl Legacy {
    /// The libxl stream.
    pub fn today(&self) -> Vec<u8> {
        let mut out = b"LibxlFmt\0\0\0\x02\0\0\0\x02".to_vec();
        record(&mut out, 1, &[]);
        out.extend(b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x03\0\0\0\0\0\0\0\0");
        let guest = if self.is_pv() { 1 } else { 2 };
        out.extend([number(guest, 4), number(12, 4), number(0, 4), number(1, 4)].concat());
        if self.is_pv() {
            let levels = if self.kind == Kind::Pv64 { 4 } else { 3 };
            record(&mut out, 2, &[self.width() as u8, levels, 0, 0, 0, 0, 0, 0]);
        }
        record(&mut out, 0x10, &[]);
        if self.is_pv() {
            let mut body = [number(0, 4), number(self.pages - 1, 4)].concat();
            self.frames().iter().for_each(|frame| body.extend(frame.to_le_bytes()));
            record(&mut out, 3, &body);
        }
        self.today_body(&mut out);
        if self.is_pv() {
            self.today_vcpus(&mut out);
            record(&mut out, 7, &self.shared_info());
        } else {
            self.today_hvm(&mut out);
        }
        record(&mut out, 0, &[]);
        if !self.is_pv() {
            self.today_model(&mut out);
        }
        record(&mut out, 0, &[]);
        out
    }

    fn today_body(&self, out: &mut Vec<u8>) {
        for part in self.parts() {
            match part {
                Part::Batch(pages) => {
                    let pages: Vec<Page> = pages.into_iter().filter(|page| page.nibble != 0xf).collect();
                    if pages.is_empty() {
                        continue;
                    }
                    let mut body = number(pages.len() as u64, 8);
                    for page in &pages {
                        let nibble = if page.nibble == 8 { 0 } else { page.nibble };
                        body.extend((u64::from(nibble) << 60 | page.pfn).to_le_bytes());
                    }
                    for page in pages.iter().filter(|page| page.has_data()) {
                        self.content(page.pfn, page.nibble, page.round, &mut body);
                    }
                    record(out, 1, &body);
                }
                Part::Tsc => {
                    let (mode, nsec, khz, incarnation) = TSC;
                    let body = [number(mode, 4), number(khz, 4), number(nsec, 8), number(incarnation, 8)];
                    record(out, 8, &body.concat());
                }
                Part::Verify => return,
            }
        }
    }

    fn today_vcpus(&self, out: &mut Vec<u8>) {
        for vcpu in &self.vcpus {
            let with_id = |bytes: Vec<u8>| [number(u64::from(*vcpu), 8), bytes].concat();
            record(out, 4, &with_id(self.context(*vcpu)));
            if self.extended == Extended::Full {
                record(out, 5, &with_id(self.extended_context(*vcpu)));
            }
            if let Some(bytes) = self.xsave {
                record(out, 6, &with_id(self.xsave_area(*vcpu, bytes - 16)));
            }
        }
    }

    fn today_hvm(&self, out: &mut Vec<u8>) {
        let index = |chunk: i32| match chunk {
            -3 => 12,
            -4 => 15,
            -8 => 17,
            -10 => 19,
            -11 => 9,
            -14 => 34,
            -15 => 27,
            -16 => 28,
            -17 => 29,
            -19 => 32,
            -20 => 33,
            _ => unreachable!("chunk {chunk} is no parameter"),
        };
        let parameters: Vec<(u64, u64)> = self
            .parameters
            .iter()
            .map(|(chunk, value)| (index(*chunk), *value))
            .collect();
        let [ioreq, bufioreq, store] = MAGIC_PAGES;
        for parameters in [parameters, vec![(5, ioreq), (6, bufioreq), (1, store)]] {
            if parameters.is_empty() {
                continue;
            }
            let mut body = number(parameters.len() as u64, 8);
            for (index, value) in parameters {
                body.extend([index.to_le_bytes(), value.to_le_bytes()].concat());
            }
            record(out, 10, &body);
        }
        record(out, 9, &self.hvm_context());
    }

    fn today_model(&self, out: &mut Vec<u8>) {
        if let Some(mappings) = self.mappings.as_ref().filter(|mappings| !mappings.is_empty()) {
            let mut body = number(0, 8);
            for (offset, start, size, name) in mappings {
                let key = format!("physmap/{offset:x}");
                let text = format!("{key}/start_addr\0{start:x}\0{key}/size\0{size:x}\0{key}/name\0{name}\0");
                body.extend(text.into_bytes());
            }
            record(out, 2, &body);
        }
        if let Some((_, state)) = &self.model {
            record(out, 3, &[&[0; 8][..], state].concat());
        }
    }
}

fn record(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    out.extend([kind.to_le_bytes(), (body.len() as u32).to_le_bytes()].concat());
    out.extend(body);
    out.resize(out.len().next_multiple_of(8), 0);
}
