//! The writer: an image of today as a legacy image, for a 64-bit PV guest.

mod pages;
mod survey;
mod target;
mod vcpus;

use std::{collections::BTreeSet, io::Write};

use super::{chunk::MAX_BATCH, pages::Seen, prologue::MAX_P2M};
use crate::{DomainHeader, ImageError, ImageSink, Item, OrderCheck, PAGE_SIZE, record::RecordType};
use vcpus::{CONTEXT, MAX_XSAVE, Vcpus};

pub use survey::{LegacySurvey, survey};
pub use target::{LegacyTarget, UnknownVersion};

/// Where the shared info of a 64-bit guest has the list of its p2m's pages, 8 bytes: a machine address, which means nothing elsewhere.
const FRAME_LIST_LIST: std::ops::Range<usize> = 3096..3104;

/// How an image is written.
#[derive(Clone, Copy, Debug)]
pub struct LegacyWriteOptions {
    /// Who is to take it.
    pub target: LegacyTarget,
    /// Bytes of the xsave item of each vcpu, its prefix of 16 included: announced before the pages, so it has to be known before. `None`: there are
    /// none.
    pub xsave: Option<u32>,
    /// What a guest might miss and a legacy image can't carry is left out, and named by [`LegacySink::left_out`]. Without: it is refused.
    pub leave_out: bool,
}

/// Writes a 64-bit PV guest's image in the legacy format, which the xend of [`LegacyWriteOptions::target`] reads; without an envelope.
///
/// What reads it back as an image of today ([`LegacySource`](super::LegacySource)) gives the same again, but for what is left out. A legacy image that
/// was read comes back as the same bytes but for these freedoms:
///
/// - the registers in the extended information are zeros: they were stale, and no restorer of a 64-bit guest looks at them;
/// - VCPU_INFO gives the highest vcpu that is online, not the highest that may be;
/// - entries of absent pages, what came for comparison only, and chunks without content for a PV guest are not there;
/// - the list of unmapped pages has all pages that have not come or are absent, ascending;
/// - the mask of features in front of xsave data is what the guest has ever enabled;
/// - an extended context has zeros behind its length, and 32 bytes up to Xen 4.1;
/// - the list of the p2m's pages in the shared info is zero, as from Xen 3.1 on.
///
/// Memory: four bytes for each page of the guest, and the vcpus.
pub struct LegacySink<W> {
    write: W,
    options: LegacyWriteOptions,
    order: OrderCheck,
    written: u64,
    /// Whether the guest's width has come.
    has_info: bool,
    p2m_size: u64,
    seen: Seen,
    vcpus: Vcpus,
    shared_info: Vec<u8>,
    left_out: BTreeSet<&'static str>,
    missed: BTreeSet<&'static str>,
    scratch: Vec<u8>,
}

impl<W: Write> LegacySink<W> {
    /// A writer at the first byte of an image. Writes nothing before the frames of the p2m have come.
    pub fn new(write: W, options: LegacyWriteOptions) -> LegacySink<W> {
        LegacySink {
            write,
            options,
            order: OrderCheck::new(),
            written: 0,
            has_info: false,
            p2m_size: 0,
            seen: Seen::new(0),
            vcpus: Vcpus::default(),
            shared_info: Vec::new(),
            left_out: BTreeSet::new(),
            missed: BTreeSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Bytes written up to now.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What it writes to, as it stands.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.write
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.write
    }

    /// What the image had up to now and a legacy image can't carry, each by its name.
    pub fn left_out(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.left_out.iter().copied()
    }

    /// Of [`LegacySink::left_out`], what a guest might miss: only with [`LegacyWriteOptions::leave_out`].
    pub fn missed(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.missed.iter().copied()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.write
            .write_all(bytes)
            .map_err(ImageError::io("writing the image"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// What the target can't take.
    fn refuse(&self, what: impl std::fmt::Display) -> ImageError {
        let target = self.options.target;
        ImageError::Toolstack(format!("an xend of {target} can't take this domain: {what}"))
    }

    /// Leaves something out that a guest might miss, or refuses it.
    fn miss(&mut self, what: &'static str) -> Result<(), ImageError> {
        if !self.options.leave_out {
            return Err(self.refuse(format_args!("{what} can't be carried over")));
        }
        self.left_out.insert(what);
        self.missed.insert(what);
        Ok(())
    }

    fn start(&self, header: &DomainHeader) -> Result<(), ImageError> {
        match header.guest {
            DomainHeader::PV => {}
            DomainHeader::HVM => return Err(self.refuse("it is no PV guest, but HVM or PVH")),
            _ => return Err(self.refuse("it is no Xen guest")),
        }
        if let Some(bytes) = self.options.xsave {
            if !self.options.target.has_xsave() {
                return Err(self.refuse("it knows no xsave data"));
            }
            if !(16..=MAX_XSAVE).contains(&(bytes as usize)) {
                return Err(self.refuse(format_args!("{bytes} bytes of xsave data for each vcpu")));
            }
        }
        Ok(())
    }

    fn record(&mut self, kind: RecordType, body: &[u8]) -> Result<(), ImageError> {
        match kind {
            RecordType::X86_PV_INFO => match body {
                [8, 4, ..] => self.has_info = true,
                _ => return Err(self.refuse("only 64-bit guests can go back")),
            },
            RecordType::STATIC_DATA_END => {}
            RecordType::X86_CPUID_POLICY => _ = self.left_out.insert("the CPUID policy"),
            RecordType::X86_MSR_POLICY => _ = self.left_out.insert("the MSR policy"),
            RecordType::X86_PV_P2M_FRAMES => return self.frames(body),
            RecordType::X86_TSC_INFO => return self.tsc(body),
            RecordType::X86_PV_VCPU_BASIC
            | RecordType::X86_PV_VCPU_EXTENDED
            | RecordType::X86_PV_VCPU_XSAVE
            | RecordType::X86_PV_VCPU_MSRS => return self.vcpu(kind, body),
            RecordType::SHARED_INFO => {
                if body.len() != PAGE_SIZE {
                    return Err(wrong(format!("a shared info of {} bytes", body.len())));
                }
                self.shared_info.clear();
                self.shared_info.extend(body);
                if let Some(list) = self.shared_info.get_mut(FRAME_LIST_LIST) {
                    list.fill(0);
                }
            }
            _ if kind.is_optional() => _ = self.left_out.insert("records of an unknown kind"),
            _ => return Err(self.refuse(format_args!("record {:#x} has no place in its image", kind.0))),
        }
        Ok(())
    }

    /// Everything before the pages.
    fn frames(&mut self, body: &[u8]) -> Result<(), ImageError> {
        let Some((&[a, b, c, d, end @ ..], frames)) = body.split_first_chunk::<8>() else {
            return Err(wrong("frames of the p2m without their bounds"));
        };
        let (begin, size) = (u32::from_le_bytes([a, b, c, d]), u64::from(u32::from_le_bytes(end)) + 1);
        if !self.has_info || self.p2m_size != 0 || begin != 0 || frames.len() as u64 != size.div_ceil(512) * 8 {
            return Err(wrong(
                "frames of the p2m that are not all of them, or not in their place",
            ));
        }
        if size > MAX_P2M {
            return Err(self.refuse(format_args!("a p2m of {size:#x} entries, more than {MAX_P2M:#x}")));
        }
        self.p2m_size = size;
        self.seen = Seen::new(size);
        let mut out = size.to_le_bytes().to_vec();
        if self.options.target.has_extended() {
            let mut blocks = Vec::with_capacity(CONTEXT + 64);
            blocks.extend(b"vcpu");
            blocks.extend((CONTEXT as u32).to_le_bytes());
            blocks.resize(blocks.len() + CONTEXT, 0);
            blocks.extend(b"extv\0\0\0\0");
            if let Some(bytes) = self.options.xsave {
                blocks.extend(b"xcnt\x04\0\0\0");
                blocks.extend(bytes.to_le_bytes());
            }
            out.extend([0xff; 8]);
            out.extend((blocks.len() as u32).to_le_bytes());
            out.extend(blocks);
        }
        out.extend(frames);
        self.bytes(&out)
    }

    /// From mode, khz, nsec, incarnation, zero to chunk -7, mode, nsec, khz, incarnation.
    fn tsc(&mut self, body: &[u8]) -> Result<(), ImageError> {
        let &[mode, khz, low, high, incarnation, _] = body.as_chunks::<4>().0 else {
            return Err(wrong(format!("TSC_INFO of {} bytes", body.len())));
        };
        if !self.options.target.has_tsc() {
            self.left_out.insert("the mode of the time stamp counter");
            return Ok(());
        }
        let chunk = (-7_i32).to_le_bytes();
        self.bytes(&[chunk, mode, low, high, khz, incarnation].concat())
    }

    fn vcpu(&mut self, kind: RecordType, body: &[u8]) -> Result<(), ImageError> {
        let Some((&[a, b, c, d, ..], rest)) = body.split_first_chunk::<8>() else {
            return Err(wrong(format!("record {:#x} of {} bytes", kind.0, body.len())));
        };
        let id = u32::from_le_bytes([a, b, c, d]);
        let most = self.options.target.max_vcpu();
        if id > most {
            return Err(self.refuse(format_args!("vcpu {id}, its highest is {most}")));
        }
        match kind {
            // Nothing in it: as if it had not come.
            _ if rest.is_empty() => Ok(()),
            RecordType::X86_PV_VCPU_MSRS => self.miss("model specific registers of vcpus"),
            RecordType::X86_PV_VCPU_XSAVE if self.options.xsave.is_none() => self.miss("xsave data of vcpus"),
            RecordType::X86_PV_VCPU_EXTENDED if !self.options.target.has_extended() => {
                self.left_out.insert("callbacks of 32-bit system calls");
                Ok(())
            }
            _ => self.vcpus.take(kind, id, rest).map_err(wrong),
        }
    }

    /// Everything behind the pages.
    fn end(&mut self) -> Result<(), ImageError> {
        if self.p2m_size == 0 || self.shared_info.is_empty() {
            return Err(wrong("the frames of the p2m, or the shared info, are missing"));
        }
        let target = self.options.target;
        let mut out = Vec::new();
        if target.has_vcpu_info() {
            self.vcpus.info(&mut out);
        }
        if target.has_last_checkpoint() {
            out.extend((-9_i32).to_le_bytes());
        }
        out.extend([0; 4]);
        let unmapped = || (0..self.p2m_size).filter(|pfn| !self.seen.is_there(*pfn));
        out.extend((unmapped().count() as u32).to_le_bytes());
        unmapped().for_each(|pfn| out.extend(pfn.to_le_bytes()));
        let xsave = self.options.xsave.map(|bytes| bytes as usize);
        self.vcpus.tail(target, xsave, &mut out).map_err(wrong)?;
        out.extend(&self.shared_info);
        self.bytes(&out)
    }
}

impl<W: Write> ImageSink for LegacySink<W> {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        self.order.check(&item)?;
        match item {
            Item::Start(header) => self.start(&header),
            Item::Record { kind, body } => self.record(kind, body),
            Item::Pages(batch) => batch
                .entries
                .chunks(MAX_BATCH)
                .try_fold(batch.data, |data, entries| self.pages(entries, data))
                .map(drop),
            Item::End => self.end(),
            Item::Libxl { kind, .. } => {
                Err(self.refuse(format_args!("libxl's record {kind:#x} has no place in its image")))
            }
            Item::Finish => self.write.flush().map_err(ImageError::io("writing the image")),
        }
    }
}

fn wrong(what: impl Into<String>) -> ImageError {
    ImageError::Order(what.into())
}
