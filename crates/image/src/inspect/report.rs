//! What is known of a file once it has been read.

use std::fmt;

use serde::Serialize;

use crate::{Certainty, Format};

/// Something about a file that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it is wrong: a restorer refuses it, or the format does not allow it. Otherwise it is only odd.
    pub fault: bool,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The part of the file that it is in.
    pub part: String,
    /// What was found.
    pub found: String,
    /// What is expected; empty for what is only odd.
    pub expected: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x}, {}: found {}", self.offset, self.part, self.found)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

/// The language of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigLanguage {
    /// xend's S-expressions.
    Sxp,
    /// libxl's JSON.
    Json,
    /// Text as in a file of xl.cfg.
    XlCfg,
}

/// The configuration that stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigText {
    /// Its language.
    pub language: ConfigLanguage,
    /// Where it stands.
    pub offset: u64,
    /// The configuration. Bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A part of a file, or a run of parts of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// Bytes, with whatever pads it.
    pub bytes: u64,
    /// Parts in a row that this stands for.
    pub count: u64,
    /// What it is.
    pub name: String,
    /// What is in it.
    pub detail: String,
}

/// Pages of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageTypeCount {
    /// The type's nibble.
    pub nibble: u8,
    /// The type's name in Xen.
    pub name: &'static str,
    /// Entries of this type, counted each time that a page came.
    pub entries: u64,
}

/// The pages of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// Records, or batches, of pages.
    pub records: u64,
    /// Entries in them.
    pub entries: u64,
    /// Entries with data.
    pub with_data: u64,
    /// Different pages with an entry other than an absent one.
    pub distinct: u64,
    /// Different pages that came more than once.
    pub again: u64,
    /// The highest page that came.
    pub highest: Option<u64>,
    /// Entries by type; types without any are left out.
    pub types: Vec<PageTypeCount>,
}

/// A round of pages: pages of which none comes twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Where its first record begins.
    pub offset: u64,
    /// Records.
    pub records: u64,
    /// Entries in them.
    pub entries: u64,
    /// Entries with data.
    pub with_data: u64,
}

/// A vcpu of a PV guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vcpu {
    /// Its number.
    pub id: u32,
    /// Bytes of its context.
    pub context: Option<u64>,
    /// Bytes of its extended context that are in use.
    pub extended: Option<u64>,
    /// Bytes of its XSAVE area.
    pub xsave: Option<u64>,
    /// Its model specific registers.
    pub msrs: Option<u64>,
    /// The page that CR3 names.
    pub cr3: Option<u64>,
    /// The page of the user page table, if there is one.
    pub cr1: Option<u64>,
    /// The instruction pointer.
    pub ip: Option<u64>,
    /// Entries of its GDT.
    pub gdt_entries: Option<u64>,
    /// vcpu 0: the page of the start info.
    pub start_info: Option<u64>,
}

/// A block of extended information.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Its four letters.
    pub id: String,
    /// Its bytes, without its header.
    pub bytes: u32,
}

/// An HVM parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its number.
    pub index: u64,
    /// Its name in Xen, if it is known.
    pub name: Option<&'static str>,
    /// Its value.
    pub value: u64,
}

/// The time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tsc {
    /// 0 default, 1 always emulated, 2 native, 3 native with RDTSCP.
    pub mode: u32,
    /// Frequency.
    pub khz: u32,
    /// Nanoseconds since the guest began.
    pub nsec: u64,
    /// How often the guest has been restored.
    pub incarnation: u32,
}

/// The image itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    /// `pv`, `hvm` or `embedded`.
    pub guest: Option<&'static str>,
    /// The version of a libxc image; `None` for a legacy one.
    pub version: Option<u32>,
    /// The Xen that saved it, for a libxc image that was not converted.
    pub saved_by: Option<String>,
    /// Whether it was converted from a legacy image.
    pub converted: bool,
    /// Bytes of the saving toolstack's words: legacy.
    pub toolstack_width: Option<u64>,
    /// Bytes of a PV guest's words.
    pub guest_width: Option<u64>,
    /// Levels of a PV guest's page tables.
    pub levels: Option<u64>,
    /// Entries of the p2m, holes included.
    pub p2m_size: Option<u64>,
    /// Pages that hold the p2m.
    pub p2m_frames: Option<u64>,
    /// Extended information of a legacy image; `None` if it has none.
    pub extended_info: Option<Vec<Block>>,
    /// Bytes of xsave data for each vcpu that a legacy image announces, with their prefix.
    pub xsave_announced: Option<u32>,
    /// The vcpus that a legacy image lists as online; `None` if it does not.
    pub online: Option<Vec<u32>>,
    /// Pages that a legacy image lists as unmapped.
    pub unmapped: Option<u64>,
    /// The time stamp counter.
    pub tsc: Option<Tsc>,
    /// The vcpus of a PV guest.
    pub vcpus: Vec<Vcpu>,
    /// HVM parameters.
    pub hvm_parameters: Vec<Parameter>,
    /// The processors in the hypervisor's context of an HVM guest.
    pub hvm_vcpus: Option<u64>,
    /// Bytes of a device model's state.
    pub device_model: Option<u64>,
}

/// What is known of a file once it has been read, or as far as it could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the file is, from the outside in: such as an xl save file, a libxl stream, a libxc image.
    pub formats: Vec<Format>,
    /// How sure the first of them is.
    pub certainty: Certainty,
    /// What it was recognised by.
    pub recognised_by: &'static str,
    /// Whether it was followed to its end.
    pub complete: bool,
    /// Bytes read.
    pub bytes: u64,
    /// Records, batches and chunks.
    pub records: u64,
    /// The configuration, if there is one.
    pub config: Option<ConfigText>,
    /// The image.
    pub image: Image,
    /// Its pages.
    pub pages: Pages,
    /// Its rounds of pages: one for a domain that stood still.
    pub rounds: Vec<Round>,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
    /// Parts that were left out of `parts` because they are too many.
    pub parts_left_out: u64,
    /// What is wrong or odd.
    pub findings: Vec<Finding>,
    /// Findings that were left out of `findings` because they are too many.
    pub findings_left_out: u64,
}

impl Report {
    /// What the file is, in words: from the outside in.
    pub fn what(&self) -> String {
        let names: Vec<String> = self.formats.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    /// The first thing that is wrong.
    pub fn first_fault(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.fault)
    }
}
