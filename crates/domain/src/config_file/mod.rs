//! Files that describe a domain: `key = value`, as for xend's `xm` and for `xl`.
//!
//! The syntax is a small part of Python's, of which xl's is a part (4.2 to today). A domain of the embedded toolstack has the first keys of the list only; Xen's
//! guests have everything that [`DomainConfig`](crate::DomainConfig) holds, in xl's words: what [`DomainConfig::to_xl`](crate::DomainConfig::to_xl) writes is
//! read back as it was.

mod devices;
mod disk;
mod settings;
mod syntax;
mod xen;

use uuid::Uuid;

use crate::{Action, DomainConfig, GuestKind};

use settings::{Origin, Settings};

/// Bytes of a file at most.
pub const MAX_FILE: usize = 1 << 20;

/// What a file says.
#[derive(Debug)]
pub struct Loaded {
    /// The domain.
    pub config: DomainConfig,
    /// What does not act as its author may think.
    pub warnings: Vec<String>,
}

/// What is wrong, and where: `web.cfg:3:5`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct ConfigFileError {
    /// Where.
    pub at: String,
    /// What.
    pub what: String,
}

/// Reads a file's bytes, with settings of the command line (`key=value`) that replace those of the file. `name`: what to call the file.
///
/// # Errors
/// The first mistake, and where it stands.
pub fn load(name: &str, bytes: &[u8], overrides: &[String]) -> Result<Loaded, ConfigFileError> {
    if bytes.len() > MAX_FILE {
        let what = format!("more than {MAX_FILE} bytes: this is no domain's configuration");
        return Err(ConfigFileError {
            at: name.to_owned(),
            what,
        });
    }
    let mut settings = Settings::default();
    let file = Origin::File(name.to_owned());
    // Bytes that are no UTF-8 may stand in comments, and pass through in values.
    let parsed = syntax::parse(&sxp::text_from_bytes(bytes)).map_err(|error| file.error(error.place, error.what))?;
    for setting in parsed {
        settings.add(&file, setting);
    }
    for text in overrides {
        settings.add_override(text)?;
    }
    let config = domain(name, &mut settings)?;
    settings.warn_of_the_rest()?;
    Ok(Loaded {
        config,
        warnings: settings.warnings,
    })
}

/// The name of the domain that a file makes, whatever else stands in it. `None`: it has none, or can't be read.
pub fn name(bytes: &[u8]) -> Option<String> {
    let settings = syntax::parse(&sxp::text_from_bytes(bytes)).ok()?;
    let name = settings.into_iter().rfind(|setting| setting.key == "name")?;
    match name.item.value {
        syntax::Value::Text(name) => Some(name),
        _ => None,
    }
}

fn domain(file: &str, settings: &mut Settings) -> Result<DomainConfig, ConfigFileError> {
    let missing = |key: &str, example: &str| ConfigFileError {
        at: file.to_owned(),
        what: format!("{key} is missing; for example: {example}"),
    };
    let (name, at) = settings
        .text("name")?
        .ok_or_else(|| missing("name", "name = \"web\""))?;
    let fits = !name.is_empty() && name.len() <= DomainConfig::MAX_NAME;
    if !fits || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(at.wrong(
            "name",
            &name,
            "1 to 255 bytes without control characters and without '/'",
        ));
    }
    let most_mib = DomainConfig::MAX_MEMORY_KIB / 1024;
    let memory = settings
        .number("memory", 1, most_mib)?
        .ok_or_else(|| missing("memory", "memory = 256"))?
        .0;
    let uuid = match settings.text("uuid")? {
        None => Uuid::new_v4(),
        Some((text, at)) => match Uuid::parse_str(&text) {
            Ok(uuid) if !uuid.is_nil() => uuid,
            _ => {
                return Err(at.wrong(
                    "uuid",
                    &text,
                    "a uuid such as 4e2b4a1c-5f0e-4c7b-9d3f-0a1b2c3d4e5f, or no uuid at all",
                ));
            }
        },
    };
    let kernel = settings
        .text("kernel")?
        .map(|(kernel, _)| kernel)
        .filter(|kernel| !kernel.is_empty());
    let kind = kind(settings, kernel.as_deref())?;
    let mut config = DomainConfig::new(&name, uuid, memory * 1024, kind);
    config.kernel = kernel;
    config.extra = settings
        .text("extra")?
        .map(|(extra, _)| extra)
        .filter(|extra| !extra.is_empty());
    if let Some((most, at)) = settings.number("maxmem", 1, most_mib)? {
        if most < memory {
            let warning = format!(
                "{}: maxmem: {most} MiB is less than memory; it becomes {memory}",
                at.place()
            );
            settings.warnings.push(warning);
        }
        config.max_memory_kib = most.max(memory) * 1024;
    }
    if let Some((vcpus, _)) = settings.number("vcpus", 1, u64::from(DomainConfig::MAX_VCPUS))? {
        config.vcpus = u32::try_from(vcpus).unwrap_or(DomainConfig::MAX_VCPUS);
    }
    if kind == GuestKind::Embedded
        && let Some((ramdisk, at)) = settings.text("ramdisk")?.filter(|(ramdisk, _)| !ramdisk.is_empty())
    {
        let warning = format!(
            "{}: ramdisk: relocd does not load '{ramdisk}'; the kernel must do without it",
            at.place()
        );
        settings.warnings.push(warning);
    }
    action(settings, "on_poweroff", &mut config.on_poweroff)?;
    action(settings, "on_reboot", &mut config.on_reboot)?;
    action(settings, "on_crash", &mut config.on_crash)?;
    for (text, at) in settings.list("vif")? {
        config
            .vifs
            .push(devices::vif(&text).map_err(|(found, expected)| at.wrong("vif", &found, expected))?);
    }
    for (text, at) in settings.list("disk")? {
        config
            .vbds
            .push(disk::disk(&text).map_err(|(found, expected)| at.wrong("disk", &found, expected))?);
    }
    if kind != GuestKind::Embedded {
        xen::read(settings, &mut config)?;
    }
    Ok(config)
}

/// What is said, and if nothing is said: what the kernel means.
fn kind(settings: &mut Settings, kernel: Option<&str>) -> Result<GuestKind, ConfigFileError> {
    let kind = match settings.text("type")? {
        None => None,
        Some((word, at)) => match word.as_str() {
            "pv" => Some(GuestKind::Pv),
            "pvh" => Some(GuestKind::Pvh),
            "hvm" => Some(GuestKind::Hvm),
            "embedded" => Some(GuestKind::Embedded),
            _ => return Err(at.wrong("type", &word, "pv, pvh, hvm or embedded")),
        },
    };
    let built = match settings.text("builder")? {
        None => None,
        Some((word, at)) => match word.as_str() {
            "linux" | "generic" => Some((GuestKind::Pv, at)),
            "hvm" => Some((GuestKind::Hvm, at)),
            _ => return Err(at.wrong("builder", &word, "linux, generic or hvm; or use type")),
        },
    };
    match (kind, built) {
        (Some(kind), Some((built, at))) if kind != built => {
            Err(at.error("builder and type contradict each other; type is enough"))
        }
        (Some(kind), _) | (None, Some((kind, _))) => Ok(kind),
        (None, None) if matches!(kernel, None | Some("guest")) => Ok(GuestKind::Embedded),
        (None, None) => Ok(GuestKind::Pv),
    }
}

fn action(settings: &mut Settings, key: &str, action: &mut Action) -> Result<(), ConfigFileError> {
    if let Some((word, at)) = settings.text(key)? {
        let expected = "destroy, restart, preserve, rename-restart, coredump-destroy or coredump-restart";
        *action = Action::from_word(&word).ok_or_else(|| at.wrong(key, &word, expected))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
