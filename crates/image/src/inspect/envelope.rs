//! What stands before an image: xend's envelope, and the header of xl.

use std::io::Read;

use super::{
    ConfigLanguage, ConfigText, ReadConfig, legacy, libxl,
    scan::{Scan, Step, number},
};
use crate::{FIRST_BYTES, Format, legacy::LegacyGuest, recognise};

/// Bytes of a configuration at most. xend and xl have no bound of their own; theirs have some kilobytes.
const MAX_CONFIG: u32 = 16 << 20;

/// xend: `LinuxGuestRecord`, i32 length (big-endian), the configuration, a legacy image (`XendCheckpoint.py`).
pub(super) fn xend<R: Read>(scan: &mut Scan<R>, read_config: ReadConfig<'_>) -> Step {
    scan.report.formats.push(Format::Xend);
    scan.begin("LinuxGuestRecord");
    scan.skip(16)?;
    scan.end("xend's signature");
    scan.begin("xend configuration");
    let offset = scan.input.offset();
    let length = u32::from_be_bytes(scan.array()?);
    if length == 0 || length > MAX_CONFIG {
        return Err(scan.broken(
            offset,
            format!("a configuration of {length} bytes"),
            format!("1 to {MAX_CONFIG}"),
        ));
    }
    let text = scan.bytes(length as usize)?;
    let guest = config(scan, ConfigLanguage::Sxp, offset + 4, &text, read_config)?;
    scan.end(format!("S-expression of {length} bytes"));
    legacy_image(scan, guest)
}

/// xl: a header of 48 bytes, optional data with the configuration in it, the image (`xl.h`, `xl_saverestore.c`).
pub(super) fn xl_save<R: Read>(scan: &mut Scan<R>, read_config: ReadConfig<'_>) -> Step {
    scan.report.formats.push(Format::XlSave);
    scan.begin("xl header");
    scan.skip(32)?;
    let [order, flags, optional_flags, length] = [scan.u32()?, scan.u32()?, scan.u32()?, scan.u32()?];
    if order != 0x0102_0304 {
        let what = if order == 0x0403_0201 { ", big-endian," } else { "" };
        return Err(scan.broken(32, format!("byte order{what} {order:#010x}"), "0x01020304"));
    }
    if flags & !3 != 0 {
        scan.fault(
            36,
            format!("mandatory flags {flags:#x}"),
            "no others than 1 (JSON) and 2 (stream v2)",
        )?;
    }
    if optional_flags != 0 {
        scan.fault(40, format!("optional flags {optional_flags:#x}"), "0")?;
    }
    if length > MAX_CONFIG {
        let expected = format!("{MAX_CONFIG} at most");
        return Err(scan.broken(44, format!("{length} bytes of optional data"), expected));
    }
    let v2 = flags & 2 != 0;
    let mut said = Vec::new();
    said.extend((flags & 1 != 0).then_some("configuration in JSON"));
    said.push(if v2 { "stream v2" } else { "legacy image" });
    scan.end(said.join(", "));
    let mut guest = None;
    if length > 0 {
        scan.begin("xl configuration");
        guest = optional_data(scan, length, flags & 1 != 0, read_config)?;
    } else {
        scan.note(44, "no configuration: xl restore needs one as an argument");
    }
    if v2 {
        return libxl::stream(scan);
    }
    legacy_image(scan, guest)
}

fn optional_data<R: Read>(
    scan: &mut Scan<R>,
    length: u32,
    json: bool,
    read_config: ReadConfig<'_>,
) -> Step<Option<LegacyGuest>> {
    let offset = scan.input.offset();
    let data = scan.bytes(length as usize)?;
    let size = number(&data, 0, 4) as usize;
    let Some(text) = data.get(4..).and_then(|rest| rest.get(..size)) else {
        let found = format!("a configuration of {size} bytes in {length} bytes");
        scan.fault(offset, found, "one that fits")?;
        return Ok(None);
    };
    let behind = data.len() - 4 - size;
    if behind > 0 {
        scan.note(
            offset + 4 + size as u64,
            format!("{behind} bytes behind the configuration, which xl skips"),
        );
    }
    let (language, text) = match (json, text.split_last()) {
        (true, Some((0, text))) => (ConfigLanguage::Json, text),
        (true, _) => {
            scan.fault(offset + 4, "JSON that does not end with a NUL", "a NUL at its end")?;
            (ConfigLanguage::Json, text)
        }
        (false, _) => (ConfigLanguage::XlCfg, text),
    };
    if let Some(at) = text.iter().position(|byte| *byte == 0) {
        scan.fault(offset + 4 + at as u64, "a NUL within the configuration", "text")?;
    }
    let guest = config(scan, language, offset + 4, text, read_config)?;
    let name = if json { "JSON" } else { "xl.cfg text" };
    scan.end(format!("{name} of {} bytes", text.len()));
    Ok(guest)
}

fn config<R: Read>(
    scan: &mut Scan<R>,
    language: ConfigLanguage,
    offset: u64,
    text: &[u8],
    read_config: ReadConfig<'_>,
) -> Step<Option<LegacyGuest>> {
    if std::str::from_utf8(text).is_err() {
        scan.note(offset, "bytes in the configuration that are not UTF-8");
    }
    scan.report.config = Some(ConfigText {
        language,
        offset,
        text: String::from_utf8_lossy(text).into_owned(),
    });
    let facts = read_config(language, text);
    if let Some(wrong) = facts.wrong {
        scan.fault(offset, wrong, "a configuration that can be read")?;
    }
    Ok(facts.guest)
}

/// A legacy image, of the kind of guest that the configuration says, or else that its bytes say.
fn legacy_image<R: Read>(scan: &mut Scan<R>, said: Option<LegacyGuest>) -> Step {
    scan.begin("legacy image");
    let offset = scan.input.offset();
    let first = scan.input.peek(FIRST_BYTES).map_err(super::Fail::Io)?;
    let looks = recognise::legacy(first).map(|found| found.format);
    let like = match looks {
        Some(Format::LegacyPv) => Some(LegacyGuest::Pv),
        Some(Format::LegacyHvm) => Some(LegacyGuest::Hvm),
        _ => None,
    };
    let guest = match (said, like) {
        (Some(said), Some(like)) if said != like => {
            scan.note(
                offset,
                "an image that looks like one of the other kind of guest than the configuration says",
            );
            said
        }
        (Some(said), _) => said,
        (None, Some(like)) => {
            scan.note(
                offset,
                "no configuration that says whether the guest is PV or HVM: judged by the bytes",
            );
            like
        }
        (None, None) => LegacyGuest::Pv,
    };
    legacy::image(scan, guest)
}
