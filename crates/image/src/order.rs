//! The order in which items may come.

use crate::{DomainHeader, ImageError, Item, PAGE_SIZE, PageEntry, page::data_pages, record::RecordType};

/// Checks that items come in the order that an image has: used by everything that writes or reads one.
#[derive(Clone, Debug, Default)]
pub struct OrderCheck {
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    /// In version 3 pages may only follow the end of static data.
    Image {
        static_data: bool,
    },
    After,
    Finished,
}

impl OrderCheck {
    /// Before the first item.
    pub fn new() -> OrderCheck {
        OrderCheck::default()
    }

    /// Whether the last item has come.
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Takes the next item in.
    ///
    /// # Errors
    /// [`ImageError::Order`] if it can't follow the one before, or is not well-formed.
    pub fn check(&mut self, item: &Item<'_>) -> Result<(), ImageError> {
        if let Item::Pages(batch) = item {
            return self.check_pages(batch.entries, batch.data.len());
        }
        self.stage = match (self.stage, item) {
            (Stage::Nothing, Item::Start(header)) => {
                check_header(header)?;
                Stage::Image {
                    static_data: header.version >= 3,
                }
            }
            (
                Stage::Image { .. },
                Item::Record {
                    kind: RecordType::END | RecordType::PAGE_DATA,
                    ..
                },
            ) => {
                return Err(ImageError::Order("END and PAGE_DATA are items of their own".to_owned()));
            }
            (
                Stage::Image { .. },
                Item::Record {
                    kind: RecordType::STATIC_DATA_END,
                    ..
                },
            ) => Stage::Image { static_data: false },
            (stage @ Stage::Image { .. }, Item::Record { .. }) => stage,
            (Stage::Image { .. }, Item::End) => Stage::After,
            (Stage::After, Item::Libxl { kind: 0 | 1, .. }) => {
                return Err(ImageError::Order(
                    "END and LIBXC_CONTEXT are no records of libxl that stand alone".to_owned(),
                ));
            }
            (Stage::After, Item::Libxl { .. }) => Stage::After,
            (Stage::After, Item::Finish) => Stage::Finished,
            (stage, item) => {
                return Err(ImageError::Order(format!("{} {}", name(item), place(stage))));
            }
        };
        Ok(())
    }

    /// Takes pages in whose data, of this length in bytes, are somewhere else.
    ///
    /// # Errors
    /// [`ImageError::Order`] as for [`check`](OrderCheck::check).
    pub fn check_pages(&mut self, entries: &[PageEntry], data: usize) -> Result<(), ImageError> {
        let what = match self.stage {
            Stage::Image { static_data: true } => "pages before STATIC_DATA_END in an image of version 3".to_owned(),
            Stage::Image { .. } if entries.is_empty() || data != data_pages(entries) * PAGE_SIZE => {
                "a batch whose data does not fit its pages".to_owned()
            }
            Stage::Image { .. } => return Ok(()),
            stage => format!("pages {}", place(stage)),
        };
        Err(ImageError::Order(what))
    }
}

fn check_header(header: &DomainHeader) -> Result<(), ImageError> {
    if !matches!(header.version, 2 | 3) {
        return Err(ImageError::Order(format!(
            "version {} of the libxc stream, known are 2 and 3",
            header.version
        )));
    }
    if !matches!(
        header.guest,
        DomainHeader::PV | DomainHeader::HVM | DomainHeader::EMBEDDED
    ) {
        return Err(ImageError::Order(format!("guest type {:#x}", header.guest)));
    }
    Ok(())
}

fn name(item: &Item<'_>) -> &'static str {
    match item {
        Item::Start(_) => "a start",
        Item::Record { .. } => "a record",
        Item::Pages(_) => "pages",
        Item::End => "an end",
        Item::Libxl { .. } => "a libxl record",
        Item::Finish => "a finish",
    }
}

fn place(stage: Stage) -> &'static str {
    match stage {
        Stage::Nothing => "before the start of the image",
        Stage::Image { .. } => "in the middle of the image",
        Stage::After => "after the end of the libxc image",
        Stage::Finished => "after the end of everything",
    }
}
