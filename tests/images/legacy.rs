//! The bytes in the legacy format.

use std::io::{self, Write};

use super::{Extended, Kind, Legacy, XEND_MODEL, body::Part, number};

/// Time stamp counter: mode, nanoseconds, kHz, incarnation.
pub const TSC: (u64, u64, u64, u64) = (1, 123_456_789, 2_400_000, 3);

/// The pages that every HVM guest has: ioreq, bufioreq, store.
pub const MAGIC_PAGES: [u64; 3] = [0xf_effd, 0xf_effe, 0xf_effc];

impl Legacy {
    /// Writes the image, batch by batch.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.word(self.pages))?;
        if self.is_pv() {
            out.write_all(&self.extended_info())?;
            for frame in self.frames() {
                out.write_all(&self.word(frame))?;
            }
        }
        let mut data = Vec::new();
        for part in self.parts() {
            data.clear();
            match part {
                Part::Batch(pages) => {
                    data.extend(chunk(pages.len() as i32));
                    for page in &pages {
                        let entry = u32::from(page.nibble) << 28 | page.pfn as u32;
                        let upper = if self.sign_extended && entry >> 31 != 0 {
                            u32::MAX
                        } else {
                            0
                        };
                        data.extend(self.word(u64::from(upper) << 32 | u64::from(entry)));
                    }
                    for page in pages.iter().filter(|page| page.has_data()) {
                        self.content(page.pfn, page.nibble, page.round, &mut data);
                    }
                }
                Part::Tsc => {
                    let (mode, nsec, khz, incarnation) = TSC;
                    data.extend(chunk(-7));
                    data.extend([number(mode, 4), number(nsec, 8), number(khz, 4), number(incarnation, 4)].concat());
                }
                Part::Verify => data.extend(chunk(-1)),
            }
            out.write_all(&data)?;
        }
        out.write_all(&self.end_of_body())?;
        out.write_all(&if self.is_pv() { self.pv_tail() } else { self.hvm_tail() })
    }

    fn word(&self, value: u64) -> Vec<u8> {
        number(value, self.word)
    }

    fn extended_info(&self) -> Vec<u8> {
        if self.extended == Extended::Absent {
            return Vec::new();
        }
        // Stale when it arrives: only its length counts.
        let context = self.context(0).into_iter().map(|byte| !byte).collect::<Vec<_>>();
        let mut blocks = [&b"vcpu"[..], &number(context.len() as u64, 4), &context].concat();
        if self.extended == Extended::Full {
            blocks.extend([b"extv".to_vec(), number(0, 4)].concat());
        }
        if let Some(bytes) = self.xsave {
            blocks.extend([b"xcnt".to_vec(), number(4, 4), number(bytes as u64, 4)].concat());
        }
        [self.word(u64::MAX), number(blocks.len() as u64, 4), blocks].concat()
    }

    fn end_of_body(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.vcpu_chunk {
            let last = *self.vcpus.last().unwrap();
            let bits = |word: u32| {
                let here = self.vcpus.iter().filter(move |vcpu| **vcpu / 64 == word);
                here.fold(0_u64, |bits, vcpu| bits | 1 << (vcpu % 64))
            };
            bytes.extend([chunk(-2), number(last.into(), 4)].concat());
            (0..=last / 64).for_each(|word| bytes.extend(bits(word).to_le_bytes()));
        }
        for (id, value) in &self.parameters {
            bytes.extend([chunk(*id), number(0, 4), number(*value, 8)].concat());
        }
        if let Some(mappings) = &self.mappings {
            let mut body = [number(1, 4), number(mappings.len() as u64, 4)].concat();
            for (offset, start, size, name) in mappings {
                body.extend([number(*offset, 8), number(*start, 8), number(*size, 8)].concat());
                body.extend([number(name.len() as u64 + 1, 4), name.as_bytes().to_vec(), vec![0]].concat());
                // The end of a C structure, which 64-bit toolstacks sent along.
                body.extend(vec![0xcc; if self.word == 8 { 4 } else { 0 }]);
            }
            bytes.extend([chunk(-18), number(body.len() as u64, 4), body].concat());
        }
        bytes.extend(&self.extra);
        if self.last_checkpoint {
            bytes.extend(chunk(-9));
        }
        bytes.extend(chunk(0));
        bytes
    }

    fn pv_tail(&self) -> Vec<u8> {
        let absent = [self.pages - 2, self.pages - 1];
        let mut bytes = number(absent.len() as u64, 4);
        absent.iter().for_each(|pfn| bytes.extend(self.word(*pfn)));
        for vcpu in &self.vcpus {
            bytes.extend(self.context(*vcpu));
            if self.extended == Extended::Full {
                bytes.extend(self.extended_context(*vcpu));
            }
            if let Some(length) = self.xsave.map(|bytes| bytes - 16) {
                bytes.extend([number(7, 8), number(length as u64, 8), self.xsave_area(*vcpu, length)].concat());
            }
        }
        bytes.extend(self.shared_info());
        bytes
    }

    fn hvm_tail(&self) -> Vec<u8> {
        assert_eq!(self.kind, Kind::Hvm);
        let mut bytes = MAGIC_PAGES.map(u64::to_le_bytes).concat();
        let context = self.hvm_context();
        bytes.extend([number(context.len() as u64, 4), context].concat());
        if let Some((signature, state)) = &self.model {
            bytes.extend(*signature);
            if *signature != XEND_MODEL {
                bytes.extend(number(state.len() as u64, 4));
            }
            bytes.extend(state);
        }
        bytes
    }
}

fn chunk(id: i32) -> Vec<u8> {
    id.to_le_bytes().to_vec()
}
