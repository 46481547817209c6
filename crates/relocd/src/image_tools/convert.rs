//! `relocd image convert`.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Cursor, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
};

use domain::DomainConfig;
use image::{
    Certainty, FIRST_BYTES, Format, ImageError,
    convert::{Converted, legacy_to_xl_save},
    inspect::ConfigLanguage,
    legacy::{LegacyGuest, LegacyOptions, LegacySource},
    not_an_image, recognise,
    save::{MAX_OPTIONAL, SaveConfig, SaveHeader, SaveImage},
};

use super::{config, failed, file, output::Output, say};

/// Bytes of an xend's configuration at most.
const MAX_CONFIG: u32 = 16 << 20;

/// Pages of a guest at most, holes included: what savers since Xen 4.1 refuse to pass.
const MAX_PAGES: u64 = 0x0fff_ffff;

/// What stood before an image.
struct Envelope {
    config: SaveConfig,
    guest: LegacyGuest,
    /// Bytes before the image.
    bytes: u64,
}

/// Converts. Warnings go to standard error, one line each.
pub(super) fn run(input: &Path, output: &Path, config: Option<&Path>, force: bool) -> ExitCode {
    match convert(input, output, config, force) {
        Ok(Done::Stream) => ExitCode::SUCCESS,
        // Its reader knows, and nobody else needs to be told.
        Ok(Done::Cut) => ExitCode::FAILURE,
        Ok(Done::File(done)) => {
            let name = output.display();
            say(&format!(
                "{name}: xl save file, {} pages, {} bytes of image\n",
                done.pages, done.bytes
            ))
        }
        Err(error) => failed(&error),
    }
}

/// What came of it.
enum Done {
    /// A file.
    File(Converted),
    /// It went to standard output, where nothing else may be said.
    Stream,
    /// Whoever read standard output went away.
    Cut,
}

fn convert(input: &Path, output: &Path, config: Option<&Path>, force: bool) -> Result<Done, String> {
    let name = file::name(input);
    let given = config.map(read_config).transpose()?;
    let mut read = BufReader::with_capacity(256 << 10, file::open(input)?);
    let mut first = Vec::new();
    let io = |error: io::Error| format!("{name}: {error}");
    Read::by_ref(&mut read)
        .take(FIRST_BYTES as u64)
        .read_to_end(&mut first)
        .map_err(io)?;
    let format = recognised(&first, given.is_some()).map_err(|what| format!("{name}: {what}"))?;
    let mut read = Cursor::new(first).chain(read);
    let envelope = envelope(format, &mut read, given).map_err(|what| format!("{name}: {what}"))?;
    let begin = envelope.bytes;
    let convert = |write: &mut dyn Write| {
        let mut source = LegacySource::new(
            &mut read,
            LegacyOptions {
                guest: envelope.guest,
                max_pages: MAX_PAGES,
                check_registers: true,
            },
        );
        let done = legacy_to_xl_save(&mut source, envelope.config, write)?;
        let end = source.offset();
        let mut behind = [0];
        match read.read(&mut behind) {
            Ok(0) => Ok(done),
            Ok(_) => Err(ImageError::Format {
                offset: end,
                what: "the image ends here, and the file goes on".to_owned(),
            }),
            Err(error) => Err(ImageError::io("reading the image")(error)),
        }
    };
    let wrong = |error: ImageError| match error {
        ImageError::Format { offset, what } => format!("{name}: at byte {}: {what}", begin + offset),
        // The name of the output, or of the input, is in the stage's words.
        error => format!("{name}: {error}"),
    };
    if output == Path::new(file::STREAM) {
        let out = io::stdout();
        if out.is_terminal() {
            return Err("standard output is a terminal: name a file, or pipe it somewhere".to_owned());
        }
        let mut write = BufWriter::new(out.lock());
        return match convert(&mut write) {
            Ok(_) => Ok(Done::Stream),
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(Done::Cut),
            Err(error) => Err(wrong(error)),
        };
    }
    let mut file = Output::begin(output, force)?;
    let done = convert(&mut file).map_err(wrong)?;
    file.finish()?;
    Ok(Done::File(done))
}

/// The format of a file that can be converted.
///
/// # Errors
/// Why it can't be, in words.
fn recognised(first: &[u8], has_config: bool) -> Result<Format, String> {
    if first.is_empty() {
        return Err("it is empty".to_owned());
    }
    let Some(found) = recognise(first) else {
        let what = not_an_image(first).map_or_else(String::new, |what| format!(": it seems to be {what}"));
        return Err(format!("it is no image of a domain{what}"));
    };
    if found.certainty != Certainty::Certain {
        let (format, certainty, why) = (found.format, found.certainty, found.why);
        eprintln!("relocd image: taken for a {format} ({certainty}: {why})");
    }
    match found.format {
        Format::Libxl | Format::Libxc => Err(format!(
            "it is a {}, which needs no conversion: only legacy images do",
            found.format
        )),
        Format::LegacyPv | Format::LegacyHvm if !has_config => {
            eprintln!(
                "relocd image: no configuration: xl restore will need one as its argument (or give one here, with --config)"
            );
            Ok(found.format)
        }
        format => Ok(format),
    }
}

/// Reads what stands before the image. A configuration that is given takes the place of the one that stands there.
fn envelope(format: Format, read: &mut impl Read, given: Option<Vec<u8>>) -> Result<Envelope, String> {
    let said = given
        .as_deref()
        .and_then(|text| config::facts(ConfigLanguage::XlCfg, text).guest);
    let text = given.map(SaveConfig::Text);
    match format {
        Format::Xend => xend(read, text),
        Format::XlSave => xl_save(read, text),
        other => Ok(Envelope {
            config: text.unwrap_or(SaveConfig::Absent),
            guest: said.unwrap_or(match other {
                Format::LegacyHvm => LegacyGuest::Hvm,
                _ => LegacyGuest::Pv,
            }),
            bytes: 0,
        }),
    }
}

fn xend(read: &mut impl Read, given: Option<SaveConfig>) -> Result<Envelope, String> {
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends within xend's envelope".to_owned(),
        _ => error.to_string(),
    };
    let mut head = [0; 20];
    read.read_exact(&mut head).map_err(cut)?;
    let length = head.last_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    if length > MAX_CONFIG {
        return Err(format!(
            "at byte 16: a configuration of {length} bytes, more than {MAX_CONFIG}"
        ));
    }
    let mut text = Vec::new();
    read.take(length.into()).read_to_end(&mut text).map_err(cut)?;
    if text.len() < length as usize {
        return Err("it ends within its configuration".to_owned());
    }
    let tree = config::domain(&text)?;
    let guest = config::facts(ConfigLanguage::Sxp, &text)
        .guest
        .ok_or("its configuration does not say whether the guest is PV or HVM")?;
    let config = match given {
        Some(given) => given,
        None => SaveConfig::Text(translate(&tree)?),
    };
    Ok(Envelope {
        config,
        guest,
        bytes: 20 + u64::from(length),
    })
}

/// xl's text for an xend's configuration. What is lost is told.
fn translate(tree: &sxp::Sexp) -> Result<Vec<u8>, String> {
    let hint = "; give one as for xl with --config";
    let (config, lost) = DomainConfig::from_xend(tree).map_err(|error| format!("{error}{hint}"))?;
    for field in lost.iter().filter(|field| field.matters()) {
        eprintln!("relocd image: not in the new configuration: {field}");
    }
    if let Err(why) = config.check_runnable() {
        eprintln!("relocd image: xl will not restore it: {why}");
    }
    config
        .to_xl()
        .map_err(|error| format!("its configuration: {error}{hint}"))
}

fn xl_save(read: &mut impl Read, given: Option<SaveConfig>) -> Result<Envelope, String> {
    let header = SaveHeader::read(read).map_err(|error| error.to_string())?;
    if header.image == SaveImage::V2 {
        return Err("it is what xl restore takes already: there is nothing to convert".to_owned());
    }
    let (guest, length) = match &header.config {
        SaveConfig::Absent => (None, 0),
        SaveConfig::Json(text) => (config::facts(ConfigLanguage::Json, text).guest, text.len() + 5),
        SaveConfig::Text(text) => (config::facts(ConfigLanguage::XlCfg, text).guest, text.len() + 4),
    };
    if guest.is_none() {
        eprintln!("relocd image: the configuration does not say whether the guest is PV or HVM: taken for PV");
    }
    Ok(Envelope {
        config: given.unwrap_or(header.config),
        guest: guest.unwrap_or(LegacyGuest::Pv),
        bytes: 48 + length as u64,
    })
}

/// A configuration that an operator gives: as for xl, and not looked into.
fn read_config(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let text = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    if text.is_empty() || text.len() > MAX_OPTIONAL - 4 {
        return Err(format!(
            "{name}: {} bytes, which is no configuration of a domain",
            text.len()
        ));
    }
    if text.contains(&0) {
        return Err(format!("{name}: a zero byte, which is in no configuration"));
    }
    Ok(text)
}
