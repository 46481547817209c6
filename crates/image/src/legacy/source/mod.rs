//! The reader.

mod ahead;
mod body;
mod vcpus;

use std::io::Read;

pub use ahead::{Ahead, PagesAhead};

use super::{
    GuestWidth, LegacyFacts, LegacyGuest, LegacyOptions, Word, hvm,
    input::Input,
    pages::{Batch, Seen},
    prologue::{self, PvPrologue},
};
use crate::{DomainHeader, ImageError, ImageSource, Item, PageBatch, record::RecordType};

/// libxl's record types for a device model (libxl stream specification).
const EMULATOR_XENSTORE_DATA: u32 = 2;
const EMULATOR_CONTEXT: u32 = 3;

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
    chunks: u32,
    /// Bytes of pages that are to be taken from below before anything else.
    pending: usize,
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
            chunks: 0,
            pending: 0,
        }
    }

    /// Bytes read up to now.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// What it reads from, at the byte behind the last that was read.
    pub fn into_inner(self) -> R {
        self.input.into_inner()
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

    /// Makes the next item ready. Of a batch with `ahead` bytes of pages or more it reads the entries only: the pages are pending then.
    fn make(&mut self, ahead: usize) -> Result<Made, ImageError> {
        if self.pending > 0 {
            return Err(ImageError::Order(
                "the contents of pages have not been taken".to_owned(),
            ));
        }
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
                    if let Some(made) = self.body(ahead)? {
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
            xsave: self.prologue.as_ref().is_some_and(|prologue| prologue.xsave.is_some()),
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

    fn item(&self, made: Made) -> Item<'_> {
        match made {
            Made::Start => Item::Start(self.header()),
            Made::Record(kind) => Item::Record { kind, body: &self.body },
            Made::Pages => Item::Pages(PageBatch {
                entries: &self.batch.entries,
                data: self.batch.data(),
            }),
            Made::End => Item::End,
            Made::Libxl(kind) => Item::Libxl { kind, body: &self.body },
            Made::Finish => Item::Finish,
        }
    }
}

impl<R: Read> ImageSource for LegacySource<R> {
    fn next(&mut self) -> Result<Item<'_>, ImageError> {
        // No batch is as long as that.
        self.make(usize::MAX).map(|made| self.item(made))
    }
}
