//! The configuration in an image's file.

use domain::{DomainConfig, GuestKind};
use image::save::SaveConfig;

/// What `xl restore` reads before the image: text as in a file of xl.cfg.
pub(super) fn config(config: &DomainConfig) -> SaveConfig {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key} = {value}\n"));
    line("name", &quoted(&config.name));
    line("uuid", &quoted(&config.uuid.to_string()));
    match config.kind {
        GuestKind::Pv => line("type", "\"pv\""),
        GuestKind::Pvh => line("type", "\"pvh\""),
        GuestKind::Hvm => line("type", "\"hvm\""),
        // No xl runs it.
        GuestKind::Embedded => {}
    }
    line("memory", &config.memory_kib.div_ceil(1024).to_string());
    line("maxmem", &config.max_memory_kib.div_ceil(1024).to_string());
    line("vcpus", &config.vcpus.to_string());
    for (key, value) in [("kernel", &config.kernel), ("extra", &config.extra)] {
        if let Some(value) = value {
            line(key, &quoted(value));
        }
    }
    line("on_poweroff", &quoted(config.on_poweroff.word()));
    line("on_reboot", &quoted(config.on_reboot.word()));
    line("on_crash", &quoted(config.on_crash.word()));
    SaveConfig::Text(text.into_bytes())
}

/// A string of xl.cfg, which has C's escapes. A NUL can't be in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in sxp::bytes_of_text(text).iter().copied() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            0x20..=0x7e => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}
