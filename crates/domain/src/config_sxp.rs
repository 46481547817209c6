//! A configuration as xend's `(domain ...)`.
//!
//! Elements are found by name; of scalars the first one counts, all `device` elements count, unknown elements are ignored:
//! so xend reads its own (3.0.2 to 4.4). Kernel and command line stand in `(image (KIND (kernel K) (args A)))`.

use sexp::{Atom, Sexp};
use uuid::Uuid;

use crate::config::{Action, DeviceSettings, DomainConfig, GuestKind, Vbd, Vif};

/// What is wrong with a `(domain ...)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not a list that begins with `domain`.
    #[error("expected (domain ...)")]
    NotADomain,
    /// A needed element is not there.
    #[error("domain configuration: ({0} ...) is missing")]
    Missing(&'static str),
    /// An element has a value that it can't have.
    #[error("domain configuration: {key}: found '{found}', expected {expected}")]
    Wrong {
        /// The element.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// There are too many of something.
    #[error("domain configuration: more than {limit} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// Devices of one class at most; more than any hypervisor gives a domain.
const MAX_DEVICES: usize = 256;

impl DomainConfig {
    /// The configuration as `(domain ...)`.
    pub fn to_sxp(&self) -> Sexp {
        let mut image = vec![atom(self.kind.image_word())];
        push(&mut image, "kernel", self.kernel.as_deref());
        push(&mut image, "args", self.extra.as_deref());
        let mut list = vec![
            atom("domain"),
            pair("name", &self.name),
            pair("uuid", &self.uuid.to_string()),
            // xend counts in MiB; memory-kib tells what that rounds away, and an xend ignores it.
            pair("memory", &self.memory_kib.div_ceil(1024).to_string()),
            pair("maxmem", &self.max_memory_kib.div_ceil(1024).to_string()),
        ];
        if !self.memory_kib.is_multiple_of(1024) || !self.max_memory_kib.is_multiple_of(1024) {
            list.push(pair("memory-kib", &self.memory_kib.to_string()));
            list.push(pair("maxmem-kib", &self.max_memory_kib.to_string()));
        }
        list.extend([
            pair("vcpus", &self.vcpus.to_string()),
            pair("on_poweroff", self.on_poweroff.word()),
            pair("on_reboot", self.on_reboot.word()),
            pair("on_crash", self.on_crash.word()),
            Sexp::List(vec![atom("image"), Sexp::List(image)]),
        ]);
        list.extend(self.vifs.iter().map(|vif| device("vif", vif_elements(vif))));
        list.extend(self.vbds.iter().map(|vbd| device("vbd", vbd_elements(vbd))));
        Sexp::List(list)
    }

    /// Understands a `(domain ...)`.
    ///
    /// # Errors
    /// [`ConfigError`] names the element, what stands there, and what may.
    pub fn from_sxp(value: &Sexp) -> Result<DomainConfig, ConfigError> {
        let Some(elements) = list_named(value, "domain") else {
            return Err(ConfigError::NotADomain);
        };
        let name = text(elements, "name").ok_or(ConfigError::Missing("name"))?;
        check_name(&name)?;
        let uuid = text(elements, "uuid").ok_or(ConfigError::Missing("uuid"))?;
        let uuid = Uuid::parse_str(&uuid).map_err(|_| wrong("uuid", &uuid, "a uuid"))?;
        let memory_kib = kib(elements, "memory-kib", "memory")?.ok_or(ConfigError::Missing("memory"))?;
        // xend 3.0.x raises maxmem to memory if it is lower.
        let max_memory_kib = kib(elements, "maxmem-kib", "maxmem")?
            .unwrap_or(memory_kib)
            .max(memory_kib);
        let vcpus = number(elements, "vcpus", u64::from(DomainConfig::MAX_VCPUS))?
            .unwrap_or(1)
            .max(1);
        let image = elements
            .iter()
            .find_map(|element| list_named(element, "image"))
            .and_then(|image| image.first())
            .and_then(|image| match image {
                Sexp::List(list) => Some(list.as_slice()),
                Sexp::Atom(_) => None,
            })
            .unwrap_or_default();
        let kind = match image.first() {
            // xend 3.0.x with a bootloader may leave the image out: such a guest is paravirtualised.
            None => GuestKind::Pv,
            Some(Sexp::Atom(word)) => GuestKind::from_image_word(&atom_text(word))
                .ok_or_else(|| wrong("image", &atom_text(word), "linux, hvm, pvh or embedded"))?,
            Some(Sexp::List(_)) => return Err(wrong("image", "a list", "linux, hvm, pvh or embedded")),
        };
        let mut config = DomainConfig::new(&name, uuid, memory_kib, kind);
        config.max_memory_kib = max_memory_kib;
        config.vcpus = u32::try_from(vcpus).unwrap_or(DomainConfig::MAX_VCPUS);
        config.kernel = text(image, "kernel").filter(|kernel| !kernel.is_empty());
        config.extra = text(image, "args").filter(|args| !args.is_empty());
        config.on_poweroff = action(elements, "on_poweroff", config.on_poweroff)?;
        config.on_reboot = action(elements, "on_reboot", config.on_reboot)?;
        config.on_crash = action(elements, "on_crash", config.on_crash)?;
        for element in elements {
            let Some([Sexp::List(device), ..]) = list_named(element, "device") else {
                continue;
            };
            let Some(Sexp::Atom(class)) = device.first() else {
                continue;
            };
            let settings = device.get(1..).unwrap_or_default();
            match atom_text(class).as_str() {
                "vif" => config.vifs.push(vif_from(settings)),
                "vbd" | "tap" | "tap2" => config.vbds.push(vbd_from(settings)),
                _ => {}
            }
        }
        if config.vifs.len() > MAX_DEVICES {
            return Err(ConfigError::TooMany {
                what: "vifs",
                limit: MAX_DEVICES,
            });
        }
        if config.vbds.len() > MAX_DEVICES {
            return Err(ConfigError::TooMany {
                what: "vbds",
                limit: MAX_DEVICES,
            });
        }
        Ok(config)
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let fits = !name.is_empty() && name.len() <= DomainConfig::MAX_NAME;
    if fits && !name.chars().any(|c| c.is_control() || c == '/') {
        return Ok(());
    }
    Err(wrong(
        "name",
        name,
        "1 to 255 bytes without control characters and without '/'",
    ))
}

fn wrong(key: &'static str, found: &str, expected: &'static str) -> ConfigError {
    let found = found.chars().take(64).flat_map(char::escape_default).collect();
    ConfigError::Wrong { key, found, expected }
}

fn atom(text: &str) -> Sexp {
    Sexp::Atom(Atom::S(text.to_owned()))
}

fn atom_text(atom: &Atom) -> String {
    match atom {
        Atom::S(text) => text.clone(),
        Atom::I(number) => number.to_string(),
        Atom::F(number) => number.to_string(),
    }
}

fn pair(key: &str, value: &str) -> Sexp {
    Sexp::List(vec![atom(key), atom(value)])
}

fn push(list: &mut Vec<Sexp>, key: &str, value: Option<&str>) {
    list.extend(value.map(|value| pair(key, value)));
}

fn device(class: &str, settings: Vec<Sexp>) -> Sexp {
    let list = std::iter::once(atom(class)).chain(settings).collect();
    Sexp::List(vec![atom("device"), Sexp::List(list)])
}

fn vif_elements(vif: &Vif) -> Vec<Sexp> {
    let mut list = Vec::new();
    push(&mut list, "mac", vif.mac.as_deref());
    push(&mut list, "bridge", vif.bridge.as_deref());
    push(&mut list, "ip", vif.ip.as_deref());
    push(&mut list, "script", vif.script.as_deref());
    list.extend(vif.other.iter().map(|(key, value)| pair(key, value)));
    list
}

fn vbd_elements(vbd: &Vbd) -> Vec<Sexp> {
    let mut list = vec![pair("dev", &vbd.device)];
    push(&mut list, "uname", vbd.backing.as_deref());
    list.push(pair("mode", &vbd.mode));
    list.extend(vbd.other.iter().map(|(key, value)| pair(key, value)));
    list
}

/// The elements after the name, if `value` is a list of that name.
fn list_named<'a>(value: &'a Sexp, name: &str) -> Option<&'a [Sexp]> {
    let Sexp::List(list) = value else { return None };
    match list.split_first() {
        Some((Sexp::Atom(atom), rest)) if atom_text(atom) == name => Some(rest),
        _ => None,
    }
}

/// The value of the first `(key value)`; an empty text for `(key)`, which is how xend up to 4.0 prints one.
fn text(elements: &[Sexp], key: &str) -> Option<String> {
    let value = elements.iter().find_map(|element| list_named(element, key))?;
    match value.first() {
        None => Some(String::new()),
        Some(Sexp::Atom(atom)) => Some(atom_text(atom)),
        Some(Sexp::List(_)) => None,
    }
}

fn number(elements: &[Sexp], key: &'static str, most: u64) -> Result<Option<u64>, ConfigError> {
    let Some(text) = text(elements, key) else {
        return Ok(None);
    };
    match text.trim().parse::<u64>() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(wrong(key, &text, "a number in range")),
    }
}

fn kib(elements: &[Sexp], exact: &'static str, mib: &'static str) -> Result<Option<u64>, ConfigError> {
    let most = DomainConfig::MAX_MEMORY_KIB;
    if let Some(kib) = number(elements, exact, most)? {
        return Ok(Some(kib));
    }
    Ok(number(elements, mib, most / 1024)?.map(|mib| mib * 1024))
}

fn action(elements: &[Sexp], key: &'static str, default: Action) -> Result<Action, ConfigError> {
    match text(elements, key) {
        None => Ok(default),
        Some(word) if word.is_empty() => Ok(default),
        Some(word) => Action::from_word(&word)
            .ok_or_else(|| wrong(key, &word, "destroy, restart, preserve or another of xend's actions")),
    }
}

fn settings(elements: &[Sexp]) -> impl Iterator<Item = (String, String)> {
    elements.iter().filter_map(|element| match element {
        Sexp::List(list) => match list.as_slice() {
            [Sexp::Atom(key), Sexp::Atom(value), ..] => Some((atom_text(key), atom_text(value))),
            _ => None,
        },
        Sexp::Atom(_) => None,
    })
}

fn vif_from(elements: &[Sexp]) -> Vif {
    let mut vif = Vif::default();
    let mut other = DeviceSettings::new();
    for (key, value) in settings(elements) {
        let field = match key.as_str() {
            "mac" => &mut vif.mac,
            "bridge" => &mut vif.bridge,
            "ip" => &mut vif.ip,
            "script" => &mut vif.script,
            _ => {
                other.push((key, value));
                continue;
            }
        };
        field.get_or_insert(value);
    }
    vif.other = other;
    vif
}

fn vbd_from(elements: &[Sexp]) -> Vbd {
    let mut vbd = Vbd {
        mode: "r".to_owned(),
        ..Vbd::default()
    };
    for (key, value) in settings(elements) {
        match key.as_str() {
            "dev" => vbd.device = value,
            "uname" => vbd.backing = Some(value),
            "mode" => vbd.mode = value,
            _ => vbd.other.push((key, value)),
        }
    }
    vbd
}
