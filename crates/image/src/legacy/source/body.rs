//! The part with the pages.

use std::io::Read;

use super::{LegacySource, Made, Stage};
use crate::{
    ImageError,
    legacy::{LegacyGuest, Word, chunk, chunk::Chunk, hvm},
    record::RecordType,
};

/// Chunks that are no pages, in one image, at most. The savers' have some ten; without a bound they could go on for ever, and no item would come.
const MAX_CHUNKS: u32 = 256;

impl<R: Read> LegacySource<R> {
    /// One chunk; `None` if nothing is made of it.
    pub(super) fn body(&mut self) -> Result<Option<Made>, ImageError> {
        let word = self.facts.map_or(Word::Eight, |facts| facts.word);
        let chunk = chunk::read(&mut self.input, word)?;
        if !matches!(chunk, Chunk::Batch(_) | Chunk::End) {
            self.chunks += 1;
            if self.chunks > MAX_CHUNKS {
                return Err(self
                    .input
                    .wrong(format!("more than {MAX_CHUNKS} chunks that are no pages")));
            }
        }
        match chunk {
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
                if self.parameters.iter().any(|(known, _)| *known == index) {
                    return Err(self.input.wrong(format!("HVM parameter {index} a second time")));
                }
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
}
