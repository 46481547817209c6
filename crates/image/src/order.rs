//! The order in which items may come.

use crate::{DomainHeader, ImageError, Item, record::RecordType};

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
            (Stage::Image { static_data: true }, Item::Pages(_)) => {
                return Err(ImageError::Order(
                    "pages before STATIC_DATA_END in an image of version 3".to_owned(),
                ));
            }
            (stage @ Stage::Image { .. }, Item::Pages(batch)) => {
                if batch.entries.is_empty() || batch.data.len() != batch.data_pages() * crate::PAGE_SIZE {
                    return Err(ImageError::Order(
                        "a batch whose data does not fit its pages".to_owned(),
                    ));
                }
                stage
            }
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
