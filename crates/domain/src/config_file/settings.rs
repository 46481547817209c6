//! What is set, by whom, and what nobody understood.

use std::collections::BTreeMap;

use super::{
    ConfigFileError,
    syntax::{self, Item, Place, Setting, Value},
};

/// Every key that acts.
const KEYS: [&str; 70] = [
    // Of every domain.
    "name",
    "memory",
    "maxmem",
    "vcpus",
    "kernel",
    "ramdisk",
    "extra",
    "uuid",
    "vif",
    "disk",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "type",
    "builder",
    // Of Xen's guests.
    "maxvcpus",
    "cpus",
    "cpu_weight",
    "cpu_cap",
    "cap",
    "pool",
    "seclabel",
    "shadow_memory",
    "bootloader",
    "bootloader_args",
    "cmdline",
    "root",
    "localtime",
    "rtc_timeoffset",
    "tsc_mode",
    "nomigrate",
    "pci_msitranslate",
    "pci_power_mgmt",
    "cpuid",
    "device_model_version",
    "bios",
    "firmware",
    "timer_mode",
    "videoram",
    "boot",
    "serial",
    "soundhw",
    "usbdevice",
    "pae",
    "acpi",
    "apic",
    "hpet",
    "viridian",
    "hap",
    "oos",
    "nestedhvm",
    "stdvga",
    "vpt_align",
    "xen_platform_pci",
    "usb",
    "nographic",
    "gfx_passthru",
    "vnc",
    "vnclisten",
    "vncdisplay",
    "vncunused",
    "vncpasswd",
    "sdl",
    "opengl",
    "keymap",
    "vfb",
    "pci",
    "vtpm",
    "ioports",
    "irqs",
];

/// What makes a guest's programs in domain 0 less powerful. A guest that was to be kept in so is not started without.
const CONFINING: [&str; 2] = ["dm_restrict", "bootloader_restrict"];

/// Where text comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A file of this name.
    File(String),
    /// An argument of the command line.
    Argument(String),
}

impl Origin {
    fn at(&self, place: Place) -> At {
        At {
            origin: self.clone(),
            place,
        }
    }

    /// What is wrong at a place of it.
    pub(crate) fn error(&self, place: Place, what: String) -> ConfigFileError {
        self.at(place).error(what)
    }
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub(crate) struct At {
    origin: Origin,
    place: Place,
}

impl At {
    /// As compilers write it; an argument is short enough to be shown whole.
    pub(crate) fn place(&self) -> String {
        match &self.origin {
            Origin::File(name) => format!("{name}:{}:{}", self.place.line, self.place.column),
            Origin::Argument(text) => format!("argument '{text}'"),
        }
    }

    /// What is wrong there.
    pub(crate) fn error(&self, what: impl Into<String>) -> ConfigFileError {
        ConfigFileError {
            at: self.place(),
            what: what.into(),
        }
    }

    /// A value that can't be.
    pub(crate) fn wrong(&self, key: &str, found: &str, expected: &str) -> ConfigFileError {
        let short: String = found.chars().take(64).collect();
        let more = if short.len() < found.len() { "..." } else { "" };
        self.error(format!("{key}: found '{short}{more}', expected {expected}"))
    }
}

/// Settings that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    open: BTreeMap<String, (Origin, Setting)>,
    /// For the operator.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Adds one. Of two the last counts, as in Python.
    pub(crate) fn add(&mut self, origin: &Origin, setting: Setting) {
        let place = setting.place;
        let key = setting.key.clone();
        let before = self.open.insert(key.clone(), (origin.clone(), setting));
        if let (Some((Origin::File(_), before)), Origin::File(_)) = (before, origin) {
            let line = before.place.line;
            self.warnings.push(format!(
                "{}: {key} is set in line {line} already; this one counts",
                origin.at(place).place()
            ));
        }
    }

    /// Adds `key=value` of the command line. A value that begins as text in quotes or a list does is read as one; anything else is the text itself.
    pub(crate) fn add_override(&mut self, text: &str) -> Result<(), ConfigFileError> {
        let origin = Origin::Argument(text.to_owned());
        let place = Place { line: 1, column: 1 };
        let split = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let Some((key, value)) = split.filter(|(key, _)| !key.is_empty()) else {
            return Err(origin.error(place, "expected KEY=VALUE".to_owned()));
        };
        let item = if value.starts_with(['[', '\'', '"']) {
            syntax::parse_value(value).map_err(|error| origin.error(error.place, error.what))?
        } else {
            Item {
                place,
                value: Value::Text(value.to_owned()),
            }
        };
        self.add(
            &origin,
            Setting {
                key: key.to_owned(),
                place,
                item,
            },
        );
        Ok(())
    }

    fn take(&mut self, key: &str) -> Option<(Value, At)> {
        let (origin, setting) = self.open.remove(key)?;
        let at = origin.at(setting.item.place);
        (setting.item.value != Value::Nothing).then_some((setting.item.value, at))
    }

    /// Text; a number is its digits.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<(String, At)>, ConfigFileError> {
        match self.take(key) {
            None => Ok(None),
            Some((Value::Text(text), at)) => Ok(Some((text, at))),
            Some((Value::Number(number), at)) => Ok(Some((number.to_string(), at))),
            Some((value, at)) => Err(at.wrong(key, name(&value), "text in quotes")),
        }
    }

    /// A number from `least` to `most`; text of digits is one too, as for xend.
    pub(crate) fn number(&mut self, key: &str, least: u64, most: u64) -> Result<Option<(u64, At)>, ConfigFileError> {
        let Some((value, at)) = self.take(key) else {
            return Ok(None);
        };
        let found = match &value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.trim().to_owned(),
            other => name(other).to_owned(),
        };
        match found.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some((number, at))),
            _ => Err(at.wrong(key, &found, &format!("a whole number from {least} to {most}"))),
        }
    }

    /// On or off: a number, as for xl, or Python's words.
    pub(crate) fn switch(&mut self, key: &str) -> Result<Option<bool>, ConfigFileError> {
        match self.take(key) {
            None => Ok(None),
            Some((Value::Bool(on), _)) => Ok(Some(on)),
            Some((Value::Number(number), _)) => Ok(Some(number != 0)),
            Some((Value::Text(text), at)) => match text.trim().parse::<i64>() {
                Ok(number) => Ok(Some(number != 0)),
                Err(_) => Err(at.wrong(key, &text, "1 or 0")),
            },
            Some((value, at)) => Err(at.wrong(key, name(&value), "1 or 0")),
        }
    }

    /// Text that `read` understands, or one of its numbers.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigFileError> {
        let Some((text, at)) = self.text(key)?.filter(|(text, _)| !text.is_empty()) else {
            return Ok(None);
        };
        match read(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(at.wrong(key, &text, expected)),
        }
    }

    /// Text that is not empty.
    pub(crate) fn filled(&mut self, key: &str) -> Result<Option<String>, ConfigFileError> {
        let text = self.text(key)?.map(|(text, _)| text);
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Whether a key is a list.
    pub(crate) fn is_list(&self, key: &str) -> bool {
        let setting = self.open.get(key).map(|(_, setting)| &setting.item.value);
        matches!(setting, Some(Value::List(_)))
    }

    /// A list of text; text alone is a list of one.
    pub(crate) fn list(&mut self, key: &str) -> Result<Vec<(String, At)>, ConfigFileError> {
        let Some((value, at)) = self.take(key) else {
            return Ok(Vec::new());
        };
        let items = match value {
            Value::Text(text) => return Ok(vec![(text, at)]),
            Value::List(items) => items,
            other => return Err(at.wrong(key, name(&other), "a list of text in quotes")),
        };
        // More than any hypervisor gives a domain; the daemon takes no more either.
        if items.len() > 256 {
            return Err(at.error(format!("{key}: {} devices, at most 256", items.len())));
        }
        let text = |item: Item| {
            let at = At {
                place: item.place,
                ..at.clone()
            };
            match item.value {
                Value::Text(text) => Ok((text, at)),
                // xl takes irqs = [ 5 ].
                Value::Number(number) if key == "irqs" => Ok((number.to_string(), at)),
                other => Err(at.wrong(key, name(&other), "text in quotes")),
            }
        };
        items.into_iter().map(text).collect()
    }

    /// Warns of keys that nothing has taken.
    ///
    /// # Errors
    /// One that is not to be passed over.
    pub(crate) fn warn_of_the_rest(&mut self) -> Result<(), ConfigFileError> {
        let mut rest: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        rest.sort_by_key(|(_, (_, setting))| (setting.place.line, setting.place.column));
        for (key, (origin, setting)) in rest {
            let at = origin.at(setting.place);
            let unset = matches!(
                setting.item.value,
                Value::Number(0) | Value::Bool(false) | Value::Nothing
            );
            if CONFINING.contains(&key.as_str()) && !unset {
                return Err(at.error(format!(
                    "{key} is not known here, and the guest would be less confined without: make it with xl create (xm migrate moves it all the same)"
                )));
            }
            let place = at.place();
            if KEYS.contains(&key.as_str()) {
                self.warnings
                    .push(format!("{place}: {key} has no effect on this kind of guest"));
                continue;
            }
            let near = KEYS
                .iter()
                .find(|known| strsim::damerau_levenshtein(known, &key) <= key.len() / 3);
            let hint = near.map(|near| format!("; is it {near}?")).unwrap_or_default();
            self.warnings
                .push(format!("{place}: {key} is not known and has no effect{hint}"));
        }
        Ok(())
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(true) => "True",
        Value::Bool(false) => "False",
        Value::Nothing => "None",
        Value::List(_) => "a list",
    }
}
