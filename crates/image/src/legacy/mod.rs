//! The legacy image of libxc (Xen 3.0.2 to 4.5), read as an image of today.
//!
//! [`LegacySource`] gives the items that Xen's own converter would make of it, while it is read: constant memory but for four bytes for each
//! page of the guest, and no temporary files. The image has no magic, no version and no length; whoever sends it has to be known to send one.
//!
//! ```text
//! image      = p2m_size [extended info] p2m_frames body tail        HVM: p2m_size body tail
//! body       = { n > 0: n entries, pages | n < 0: a chunk } 0
//! tail (PV)  = unmapped pfns, { context [extended] [xsave] }, shared info
//! tail (HVM) = three pfns, the hypervisor's context, [the device model's state]
//! ```
//!
//! Sources of the format: `xc_domain_save.c` and `xc_domain_restore.c` of Xen 3.0.2 to 4.5; of the conversion: `convert-legacy-stream` of Xen 4.17. Where
//! this reader takes more than that converter: images without extended information or without VCPU_INFO (Xen 3.0 and 3.1), entries with
//! extended sign, absent pages with a number that is none, the pinned bit on a plain page, a device model's state without a length (every xend's), verify mode.

mod checks;
mod chunk;
mod hvm;
mod input;
mod pages;
mod prologue;

use std::io::Read;

use crate::{DomainHeader, ImageError, ImageSource, Item, PageBatch, record::RecordType};
use chunk::Chunk;
use input::Input;
use pages::{Batch, Seen};
use prologue::PvPrologue;

pub use input::Word;
pub use prologue::GuestWidth;

/// Bytes of a vcpu's extended context.
const EXTENDED: usize = 128;

/// libxl's record types for a device model (libxl stream specification).
const EMULATOR_XENSTORE_DATA: u32 = 2;
const EMULATOR_CONTEXT: u32 = 3;

/// Which kind of guest the image is of: it does not say so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyGuest {
    /// Paravirtualized: `(image (linux ...))`.
    Pv,
    /// Fully virtualized: `(image (hvm ...))`.
    Hvm,
}

/// How an image is read.
#[derive(Clone, Copy, Debug)]
pub struct LegacyOptions {
    /// What it is of.
    pub guest: LegacyGuest,
    /// Pages that the guest may have at most, its holes included.
    pub max_pages: u64,
    /// Whether a PV guest's registers and p2m are checked against its pages, as a Xen would do: all but made-up images pass.
    pub check_registers: bool,
}

/// What is known of an image once its beginning has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyFacts {
    /// Width of the saving toolstack.
    pub word: Word,
    /// Entries of the guest's p2m: its highest page and one, holes included.
    pub p2m_size: u64,
    /// Width of a PV guest.
    pub width: Option<GuestWidth>,
    /// Whether there is extended information (always from Xen 3.2 on).
    pub extended_info: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    PvInfo,
    StaticDataEnd,
    Frames,
    Body,
    Parameters,
    Context,
    Vcpu(usize),
    VcpuExtended(usize),
    VcpuXsave(usize),
    SharedInfo,
    End,
    Toolstack,
    DeviceModel,
    Finish,
    Over,
}

/// What has been made ready in the buffers.
enum Made {
    Start,
    Record(RecordType),
    Pages,
    End,
    Libxl(u32),
    Finish,
}

/// Reads a legacy image as an image of today. What stands before it (an envelope) has been read; what comes behind it is left, but for HVM,
/// whose device model's state goes to the end of the stream.
pub struct LegacySource<R> {
    input: Input<R>,
    options: LegacyOptions,
    stage: Stage,
    facts: Option<LegacyFacts>,
    prologue: Option<PvPrologue>,
    seen: Seen,
    batch: Batch,
    body: Vec<u8>,
    vcpus: Vec<u32>,
    parameters: Vec<(u64, u64)>,
    toolstack: Vec<u8>,
    verify: bool,
}

impl<R: Read> LegacySource<R> {
    /// A reader at the first byte of an image.
    pub fn new(input: R, options: LegacyOptions) -> LegacySource<R> {
        LegacySource {
            input: Input::new(input),
            options,
            stage: Stage::Begin,
            facts: None,
            prologue: None,
            seen: Seen::new(0),
            batch: Batch::new(),
            body: Vec::new(),
            // What holds for the images of 3.0.x, which do not tell.
            vcpus: vec![0],
            parameters: Vec::new(),
            toolstack: Vec::new(),
            verify: false,
        }
    }

    /// Bytes read up to now.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// What is known of the image; `None` before the first item.
    pub fn facts(&self) -> Option<LegacyFacts> {
        self.facts
    }

    fn header(&self) -> DomainHeader {
        DomainHeader {
            version: 3,
            guest: match self.options.guest {
                LegacyGuest::Pv => DomainHeader::PV,
                LegacyGuest::Hvm => DomainHeader::HVM,
            },
            // Converted: by version 1 of the rules.
            xen_major: 0,
            xen_minor: 1,
        }
    }

    fn make(&mut self) -> Result<Made, ImageError> {
        loop {
            match self.stage {
                Stage::Begin => {
                    self.begin()?;
                    return Ok(Made::Start);
                }
                Stage::PvInfo => {
                    self.stage = Stage::StaticDataEnd;
                    let width = self.width();
                    self.body.clear();
                    self.body
                        .extend([width.bytes() as u8, width.levels(), 0, 0, 0, 0, 0, 0]);
                    return Ok(Made::Record(RecordType::X86_PV_INFO));
                }
                Stage::StaticDataEnd => {
                    self.stage = match self.options.guest {
                        LegacyGuest::Pv => Stage::Frames,
                        LegacyGuest::Hvm => Stage::Body,
                    };
                    self.body.clear();
                    return Ok(Made::Record(RecordType::STATIC_DATA_END));
                }
                Stage::Frames => {
                    self.stage = Stage::Body;
                    self.frames();
                    return Ok(Made::Record(RecordType::X86_PV_P2M_FRAMES));
                }
                Stage::Body => {
                    if let Some(made) = self.body()? {
                        return Ok(made);
                    }
                }
                Stage::Parameters => {
                    self.stage = Stage::Context;
                    let magic = hvm::magic_pages(&mut self.input)?;
                    hvm::parameters(&magic, &mut self.body);
                    return Ok(Made::Record(RecordType::HVM_PARAMS));
                }
                Stage::Context => {
                    self.stage = Stage::End;
                    hvm::context(&mut self.input, &mut self.body)?;
                    return Ok(Made::Record(RecordType::HVM_CONTEXT));
                }
                Stage::Vcpu(_) | Stage::VcpuExtended(_) | Stage::VcpuXsave(_) => {
                    if let Some(made) = self.vcpu()? {
                        return Ok(made);
                    }
                }
                Stage::SharedInfo => {
                    self.stage = Stage::End;
                    self.check_p2m()?;
                    self.body.clear();
                    self.input.append(crate::PAGE_SIZE, &mut self.body, "the shared info")?;
                    return Ok(Made::Record(RecordType::SHARED_INFO));
                }
                Stage::End => {
                    self.stage = match self.options.guest {
                        LegacyGuest::Pv => Stage::Finish,
                        LegacyGuest::Hvm => Stage::Toolstack,
                    };
                    return Ok(Made::End);
                }
                Stage::Toolstack => {
                    self.stage = Stage::DeviceModel;
                    self.body.clear();
                    if !self.toolstack.is_empty() {
                        let word = self.facts.map_or(Word::Eight, |facts| facts.word);
                        hvm::physmap(&self.toolstack, word, &mut self.body).map_err(|what| self.input.wrong(what))?;
                    }
                    if !self.body.is_empty() {
                        return Ok(Made::Libxl(EMULATOR_XENSTORE_DATA));
                    }
                }
                Stage::DeviceModel => {
                    self.stage = Stage::Finish;
                    if hvm::device_model(&mut self.input, &mut self.body)? {
                        return Ok(Made::Libxl(EMULATOR_CONTEXT));
                    }
                }
                Stage::Finish => {
                    self.stage = Stage::Over;
                    return Ok(Made::Finish);
                }
                Stage::Over => {
                    return Err(ImageError::Order("nothing follows the end of everything".to_owned()));
                }
            }
        }
    }

    fn begin(&mut self) -> Result<(), ImageError> {
        let (word, p2m_size) = prologue::p2m_size(&mut self.input)?;
        if p2m_size > self.options.max_pages {
            return Err(self.input.wrong(format!(
                "a p2m of {p2m_size:#x} entries, more than the {:#x} pages that the domain may have",
                self.options.max_pages
            )));
        }
        self.stage = match self.options.guest {
            LegacyGuest::Pv => {
                self.prologue = Some(prologue::pv(&mut self.input, word, p2m_size)?);
                Stage::PvInfo
            }
            LegacyGuest::Hvm => Stage::StaticDataEnd,
        };
        self.facts = Some(LegacyFacts {
            word,
            p2m_size,
            width: self.prologue.as_ref().map(|prologue| prologue.width),
            extended_info: self
                .prologue
                .as_ref()
                .is_some_and(|prologue| prologue.has_extended_info),
        });
        self.seen = Seen::new(p2m_size);
        Ok(())
    }

    fn width(&self) -> GuestWidth {
        self.prologue
            .as_ref()
            .map_or(GuestWidth::Eight, |prologue| prologue.width)
    }

    fn frames(&mut self) {
        self.body.clear();
        let size = self.facts.map_or(0, |facts| facts.p2m_size);
        self.body.extend(0_u32.to_le_bytes());
        self.body.extend((size.saturating_sub(1) as u32).to_le_bytes());
        for frame in self.prologue.iter().flat_map(|prologue| &prologue.frames) {
            self.body.extend(frame.to_le_bytes());
        }
    }

    /// One chunk; `None` if nothing is made of it.
    fn body(&mut self) -> Result<Option<Made>, ImageError> {
        let word = self.facts.map_or(Word::Eight, |facts| facts.word);
        match chunk::read(&mut self.input, word)? {
            Chunk::Batch(count) => {
                self.batch
                    .read(&mut self.input, word, count, &mut self.seen, self.verify)?;
                // One of absent pages only is no batch.
                return Ok((!self.batch.entries.is_empty()).then_some(Made::Pages));
            }
            Chunk::Tsc(body) => {
                self.body.clear();
                self.body.extend(body);
                return Ok(Some(Made::Record(RecordType::X86_TSC_INFO)));
            }
            Chunk::Verify => self.verify = true,
            Chunk::Vcpus(vcpus) => self.vcpus = vcpus,
            Chunk::Parameter(index, value) if self.options.guest == LegacyGuest::Hvm => {
                self.parameters.push((index, value));
            }
            Chunk::Parameter(index, _) => {
                return Err(self
                    .input
                    .wrong(format!("HVM parameter {index} in the image of a PV guest")));
            }
            Chunk::Toolstack(bytes) => self.toolstack = bytes,
            Chunk::Nothing => {}
            Chunk::End => return self.end_of_body(),
        }
        Ok(None)
    }

    fn end_of_body(&mut self) -> Result<Option<Made>, ImageError> {
        match self.options.guest {
            LegacyGuest::Pv => {
                let word = self.facts.map_or(Word::Eight, |facts| facts.word);
                let size = self.facts.map_or(0, |facts| facts.p2m_size);
                let unmapped = u64::from(self.input.u32("the list of unmapped pages")?);
                if unmapped > size {
                    return Err(self.input.wrong(format!("{unmapped} unmapped pages of {size}")));
                }
                // Pages that have gone since they were sent, or were never there; Xen's converter drops the list as well.
                self.input
                    .skip(unmapped * word.bytes() as u64, "the list of unmapped pages")?;
                self.stage = Stage::Vcpu(0);
                Ok(None)
            }
            LegacyGuest::Hvm => {
                self.stage = Stage::Parameters;
                if self.parameters.is_empty() {
                    return Ok(None);
                }
                hvm::parameters(&self.parameters, &mut self.body);
                Ok(Some(Made::Record(RecordType::HVM_PARAMS)))
            }
        }
    }

    /// The next part of a vcpu; `None` if it has none of that kind.
    fn vcpu(&mut self) -> Result<Option<Made>, ImageError> {
        let (extended, xsave) = self
            .prologue
            .as_ref()
            .map_or((false, None), |prologue| (prologue.extended, prologue.xsave));
        let (at, kind) = match self.stage {
            Stage::Vcpu(at) => (at, RecordType::X86_PV_VCPU_BASIC),
            Stage::VcpuExtended(at) => (at, RecordType::X86_PV_VCPU_EXTENDED),
            Stage::VcpuXsave(at) => (at, RecordType::X86_PV_VCPU_XSAVE),
            _ => return Ok(None),
        };
        let Some(id) = self.vcpus.get(at).copied() else {
            self.stage = Stage::SharedInfo;
            return Ok(None);
        };
        self.body.clear();
        self.body.extend(id.to_le_bytes());
        self.body.extend([0; 4]);
        match self.stage {
            Stage::Vcpu(_) => {
                self.stage = Stage::VcpuExtended(at);
                let length = self.width().context_bytes();
                self.input.append(length, &mut self.body, "a vcpu's registers")?;
                self.check_vcpu(id)?;
            }
            Stage::VcpuExtended(_) => {
                self.stage = Stage::VcpuXsave(at);
                if !extended {
                    return Ok(None);
                }
                self.input
                    .append(EXTENDED, &mut self.body, "a vcpu's extended registers")?;
            }
            _ => {
                self.stage = Stage::Vcpu(at + 1);
                let Some(xsave) = xsave else { return Ok(None) };
                const WHAT: &str = "a vcpu's xsave data";
                let _features = self.input.u64(WHAT)?;
                let size = self.input.u64(WHAT)?;
                if size.checked_add(16) != Some(u64::from(xsave)) {
                    return Err(self.input.wrong(format!(
                        "xsave data of {size} bytes where {} were announced",
                        xsave - 16
                    )));
                }
                self.input.append(size as usize, &mut self.body, WHAT)?;
            }
        }
        Ok(Some(Made::Record(kind)))
    }

    fn check_vcpu(&self, id: u32) -> Result<(), ImageError> {
        let width = self.width();
        let context = self.body.get(8..).unwrap_or_default();
        if id == 0 && checks::has_two_levels(width, context, &self.seen) {
            return Err(self
                .input
                .wrong("a 32-bit guest without PAE (page tables of two levels): no Xen since 4.3 can run it"));
        }
        if self.options.check_registers {
            checks::vcpu(id, width, context, &self.seen).map_err(|what| self.input.wrong(what))?;
        }
        Ok(())
    }

    fn check_p2m(&self) -> Result<(), ImageError> {
        match &self.prologue {
            Some(prologue) if self.options.check_registers => {
                checks::p2m(&prologue.frames, &self.seen).map_err(|what| self.input.wrong(what))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> ImageSource for LegacySource<R> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        Ok(match self.make()? {
            Made::Start => Item::Start(self.header()),
            Made::Record(kind) => Item::Record { kind, body: &self.body },
            Made::Pages => Item::Pages(PageBatch {
                entries: &self.batch.entries,
                data: self.batch.data(),
            }),
            Made::End => Item::End,
            Made::Libxl(kind) => Item::Libxl { kind, body: &self.body },
            Made::Finish => Item::Finish,
        })
    }
}
