//! The header of a file of `xl save`, which `xl migrate` sends as well. Behind it stands the image.
//!
//! Facts from `xl.h` and `xl_saverestore.c` of Xen 4.17. The numbers are in the writer's byte order, which is little-endian on x86:
//!
//! ```text
//! offset  size
//!   0     32     magic                    "Xen saved domain, xl format\n \0 \r"
//!  32      4     byte order               0x01020304
//!  36      4     mandatory flags          bit 0: the configuration is JSON   bit 1: the image is a stream v2   others: refuse
//!  40      4     optional flags           0
//!  44      4     D, bytes that follow
//!  48      4     bytes of configuration   absent if D is 0
//!  52            configuration            JSON with its NUL at the end; or text as in a file of xl.cfg
//! ```
//!
//! What stands behind the configuration within D is for later versions, and skipped. Without a configuration `xl restore` needs one as its argument.

use std::io::{self, Read, Write};

use crate::ImageError;

/// The first 32 bytes of a file.
pub const MAGIC: [u8; 32] = *b"Xen saved domain, xl format\n \0 \r";

/// Bytes between the header's fixed part and the image at most. xl has no bound of its own; its JSON has some kilobytes.
pub const MAX_OPTIONAL: usize = 1 << 20;

const FIXED: usize = 48;
const BYTE_ORDER: u32 = 0x0102_0304;
const FLAG_JSON: u32 = 1;
const FLAG_STREAM_V2: u32 = 2;

/// A domain's configuration as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveConfig {
    /// None.
    Absent,
    /// A `libxl_domain_config` in JSON, as xl writes it. Without its NUL.
    Json(Vec<u8>),
    /// Text as in a file of xl.cfg. Xen 4.17 takes it as readily, and it is easier to make.
    Text(Vec<u8>),
}

/// The image behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveImage {
    /// A libxl stream: see [`v2`](crate::v2).
    V2,
    /// A libxc image of the time before Xen 4.6, and a device model's record behind it for an HVM guest.
    Legacy,
}

/// The header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveHeader {
    /// The configuration.
    pub config: SaveConfig,
    /// What follows.
    pub image: SaveImage,
}

impl SaveHeader {
    /// Reads a header: exactly its bytes, none of the image.
    ///
    /// # Errors
    /// [`ImageError::Io`], and [`ImageError::Format`] for what is no such file or has flags that are not known.
    pub fn read(read: &mut impl Read) -> Result<SaveHeader, ImageError> {
        let mut fixed = [0; FIXED];
        read.read_exact(&mut fixed).map_err(cut)?;
        let (magic, numbers) = fixed.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(wrong(0, "this is no file of xl save"));
        }
        let &[[a, b, c, d], flags, _, length] = numbers.as_chunks::<4>().0 else {
            return Err(wrong(0, "this is no file of xl save"));
        };
        match u32::from_le_bytes([a, b, c, d]) {
            BYTE_ORDER => {}
            order if order == BYTE_ORDER.swap_bytes() => {
                return Err(wrong(32, "the file is big-endian, which is not supported"));
            }
            order => {
                return Err(wrong(
                    32,
                    format!("byte order {order:#010x}, expected {BYTE_ORDER:#010x}"),
                ));
            }
        }
        let flags = u32::from_le_bytes(flags);
        if flags & !(FLAG_JSON | FLAG_STREAM_V2) != 0 {
            return Err(wrong(36, format!("unknown mandatory flags {flags:#x}")));
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_OPTIONAL {
            let what = format!("{length} bytes before the image, more than {MAX_OPTIONAL}");
            return Err(wrong(44, what));
        }
        let mut optional = vec![0; length];
        read.read_exact(&mut optional).map_err(cut)?;
        Ok(SaveHeader {
            config: config(optional, flags & FLAG_JSON != 0)?,
            image: if flags & FLAG_STREAM_V2 != 0 {
                SaveImage::V2
            } else {
                SaveImage::Legacy
            },
        })
    }

    /// Writes a header.
    ///
    /// # Errors
    /// [`ImageError::Io`], and [`ImageError::Format`] for a configuration that is too long or holds a NUL.
    pub fn write(&self, write: &mut impl Write) -> Result<(), ImageError> {
        let (json, config, end) = match &self.config {
            SaveConfig::Absent => (0, None, 0),
            SaveConfig::Json(config) => (FLAG_JSON, Some(config), 1),
            SaveConfig::Text(config) => (0, Some(config), 0),
        };
        let image = match self.image {
            SaveImage::V2 => FLAG_STREAM_V2,
            SaveImage::Legacy => 0,
        };
        let length = config.map_or(0, |config| config.len() + end);
        let optional = if config.is_some() { length + 4 } else { 0 };
        if optional > MAX_OPTIONAL {
            return Err(wrong(
                44,
                format!("a configuration of {length} bytes, {MAX_OPTIONAL} can stand here"),
            ));
        }
        let mut bytes = Vec::with_capacity(FIXED + optional);
        bytes.extend_from_slice(&MAGIC);
        for number in [BYTE_ORDER, json | image, 0, optional as u32] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(config) = config {
            check_text(config)?;
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
            bytes.extend_from_slice(config);
            bytes.extend(std::iter::repeat_n(0, end));
        }
        write
            .write_all(&bytes)
            .map_err(ImageError::io("writing the file's header"))
    }
}

/// The configuration in the optional data, which is whole.
fn config(optional: Vec<u8>, json: bool) -> Result<SaveConfig, ImageError> {
    if optional.is_empty() {
        return Ok(SaveConfig::Absent);
    }
    let Some((length, config)) = optional.split_first_chunk::<4>() else {
        return Err(wrong(
            44,
            format!("{} bytes where a configuration's length has 4", optional.len()),
        ));
    };
    let length = u32::from_le_bytes(*length) as usize;
    let Some(config) = config.get(..length) else {
        let what = format!("a configuration of {length} bytes in {} bytes", optional.len());
        return Err(wrong(48, what));
    };
    if json {
        let Some((0, config)) = config.split_last() else {
            return Err(wrong(52, "a configuration in JSON without its NUL at the end"));
        };
        check_text(config)?;
        return Ok(SaveConfig::Json(config.to_vec()));
    }
    check_text(config)?;
    Ok(SaveConfig::Text(config.to_vec()))
}

/// xl handles a configuration as a C string: behind a NUL it would see nothing.
fn check_text(config: &[u8]) -> Result<(), ImageError> {
    match config.iter().position(|byte| *byte == 0) {
        Some(at) => Err(wrong(52 + at as u64, "a NUL in the configuration")),
        None => Ok(()),
    }
}

fn wrong(offset: u64, what: impl Into<String>) -> ImageError {
    ImageError::Format {
        offset,
        what: what.into(),
    }
}

fn cut(source: io::Error) -> ImageError {
    let stage = match source.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends in its header",
        _ => "reading the file's header",
    };
    ImageError::Io { stage, source }
}
