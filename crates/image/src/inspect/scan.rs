//! The state of a reading: where it is, what it has found.

use std::{borrow::Cow, io::Read};

use super::{
    Fail,
    input::Input,
    pages::{PageMap, Run},
    report::{Finding, Image, Pages, Part, Report},
};
use crate::Recognised;

/// Parts that a report lists at most.
const MAX_PARTS: usize = 20_000;

/// Findings that a report lists at most.
const MAX_FINDINGS: usize = 200;

/// What a step gives: the reading ends with an error.
pub(super) type Step<T = ()> = Result<T, Fail>;

/// A reading.
pub(super) struct Scan<R> {
    pub(super) input: Input<R>,
    pub(super) report: Report,
    pub(super) pages: PageMap,
    /// Records of pages that are still to be listed, as one part.
    pub(super) run: Option<Run>,
    pub(super) run_name: &'static str,
    /// Whether the first fault ends it.
    strict: bool,
    part: Cow<'static, str>,
    part_offset: u64,
}

impl<R: Read> Scan<R> {
    pub(super) fn new(input: Input<R>, recognised: &Recognised, strict: bool) -> Scan<R> {
        Scan {
            input,
            report: Report {
                formats: Vec::new(),
                certainty: recognised.certainty,
                recognised_by: recognised.why,
                complete: false,
                bytes: 0,
                records: 0,
                config: None,
                image: Image::default(),
                pages: Pages::default(),
                rounds: Vec::new(),
                parts: Vec::new(),
                parts_left_out: 0,
                findings: Vec::new(),
                findings_left_out: 0,
            },
            pages: PageMap::default(),
            run: None,
            run_name: "",
            strict,
            part: Cow::Borrowed("the file"),
            part_offset: 0,
        }
    }

    /// A part of the file begins here. Findings name it.
    pub(super) fn begin(&mut self, part: impl Into<Cow<'static, str>>) {
        self.part = part.into();
        self.part_offset = self.input.offset();
    }

    /// Gives the part that has begun its true name, once that is known.
    pub(super) fn rename(&mut self, part: impl Into<Cow<'static, str>>) {
        self.part = part.into();
    }

    /// Where the part begins.
    pub(super) fn part_offset(&self) -> u64 {
        self.part_offset
    }

    /// The part ends here: it is listed.
    pub(super) fn end(&mut self, detail: impl Into<String>) {
        let part = Part {
            offset: self.part_offset,
            bytes: self.input.offset() - self.part_offset,
            count: 1,
            name: self.part.to_string(),
            detail: detail.into(),
        };
        self.list(part);
    }

    /// Lists a part.
    fn list(&mut self, part: Part) {
        self.list_run();
        self.push(part);
    }

    /// Lists the records of pages that came last.
    pub(super) fn list_run(&mut self) {
        if let Some(run) = self.run.take() {
            let part = run.part(self.run_name);
            self.push(part);
        }
    }

    fn push(&mut self, part: Part) {
        if self.report.parts.len() < MAX_PARTS {
            self.report.parts.push(part);
        } else {
            self.report.parts_left_out += part.count;
        }
    }

    fn find(&mut self, finding: Finding) {
        // The first fault is kept whatever comes before it.
        let keep = finding.fault && self.report.first_fault().is_none();
        if keep || self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(finding);
        } else {
            self.report.findings_left_out += 1;
        }
    }

    /// Something is wrong here, and reading can go on: it does, unless strict.
    pub(super) fn fault(&mut self, offset: u64, found: impl Into<String>, expected: impl Into<String>) -> Step {
        let fail = self.broken(offset, found, expected);
        if self.strict { Err(fail) } else { Ok(()) }
    }

    /// Something is wrong here, and what follows can't be found.
    pub(super) fn broken(&mut self, offset: u64, found: impl Into<String>, expected: impl Into<String>) -> Fail {
        self.find(Finding {
            fault: true,
            offset,
            part: self.part.to_string(),
            found: found.into(),
            expected: expected.into(),
        });
        Fail::Broken
    }

    /// Something is odd here.
    pub(super) fn note(&mut self, offset: u64, found: impl Into<String>) {
        self.find(Finding {
            fault: false,
            offset,
            part: self.part.to_string(),
            found: found.into(),
            expected: String::new(),
        });
    }

    /// The file ends too soon.
    fn ended(&mut self, missing: u64) -> Fail {
        let offset = self.input.offset();
        self.broken(offset, "the end of the file", format!("{missing} bytes more"))
    }

    /// Fills `out`.
    pub(super) fn exact(&mut self, out: &mut [u8]) -> Step {
        let count = self.input.read(out).map_err(Fail::Io)?;
        if count < out.len() {
            return Err(self.ended((out.len() - count) as u64));
        }
        Ok(())
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, count: u64) -> Step {
        let skipped = self.input.skip(count).map_err(Fail::Io)?;
        if skipped < count {
            return Err(self.ended(count - skipped));
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Step<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Step<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes whose memory grows only as they come.
    pub(super) fn bytes(&mut self, count: usize) -> Step<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let begin = bytes.len();
            bytes.resize(count.min(begin + (64 << 10)), 0);
            self.exact(bytes.get_mut(begin..).unwrap_or_default())?;
        }
        Ok(bytes)
    }

    /// Zeros up to the next multiple of 8 after a body of this length.
    pub(super) fn padding(&mut self, length: u64) -> Step {
        let offset = self.input.offset();
        let mut bytes = [0; 8];
        let count = (length.wrapping_neg() % 8) as usize;
        let padding = bytes.get_mut(..count).unwrap_or_default();
        self.exact(padding)?;
        if bytes != [0; 8] {
            self.fault(offset, "padding that is not zero", "zeros")?;
        }
        Ok(())
    }
}

/// The little-endian number of `size` bytes at `at`; 0 if it is not there.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes.get(at..at + size).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
