//! Images of domains.
//!
//! Between a toolstack and a wire there is one thing only: a stream of [`Item`]s, which are the parts of
//! Xen's migration stream v2 (libxl records around libxc records). A toolstack that lets a domain
//! depart puts items into an [`ImageSink`]; one that takes a domain in pulls them from an [`ImageSource`].
//! Sinks and sources are wires, files, converters, or several of these in a row.
//!
//! Everything here belongs to the bulk path: plain blocking calls, borrowed buffers that are used again.
//!
//! Order of the items of one image (libxl and libxc stream specifications, Xen 4.6 and later):
//!
//! ```text
//! Start  { Record | Pages }*  End   Libxl*  Finish
//! └────── libxc image ──────┘
//! ```

pub mod convert;
mod error;
mod flow;
pub mod inspect;
mod item;
pub mod legacy;
mod order;
mod page;
mod recognise;
pub mod record;
pub mod save;
pub mod v2;

pub use error::ImageError;
pub use flow::copy;
pub use item::{DomainHeader, ImageSink, ImageSource, Item};
pub use order::OrderCheck;
pub use page::{PAGE_SIZE, PageBatch, PageContent, PageEntry, PageType, is_zero};
pub use recognise::{Certainty, FIRST_BYTES, Format, Recognised, not_an_image, recognise};
