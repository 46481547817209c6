//! A report as an operator reads it.

use std::fmt::Write;

use image::inspect::{ConfigLanguage, ConfigText, Image, Report, Vcpu};

use super::config;

/// The report on a file of this name.
pub(super) fn of(name: &str, report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write(&mut out, name, report);
    harmless(&out)
}

fn write(out: &mut String, name: &str, report: &Report) -> std::fmt::Result {
    let Report {
        certainty,
        recognised_by,
        bytes,
        ..
    } = report;
    writeln!(out, "{name}: {}", report.what())?;
    writeln!(out, "  {certainty}: {recognised_by}")?;
    let end = if report.complete {
        ""
    } else {
        ", and not followed to its end"
    };
    writeln!(out, "  {bytes} bytes{end}")?;
    if let Some(text) = &report.config {
        writeln!(out, "\nConfiguration ({})", language(text.language))?;
        for line in config_text(text).lines() {
            writeln!(out, "  {line}")?;
        }
    }
    writeln!(out, "\nGuest")?;
    guest(out, &report.image)?;
    pages(out, report)?;
    parts(out, report)?;
    findings(out, report)
}

fn language(language: ConfigLanguage) -> &'static str {
    match language {
        ConfigLanguage::Sxp => "xend's S-expression",
        ConfigLanguage::Json => "libxl's JSON",
        ConfigLanguage::XlCfg => "xl.cfg",
    }
}

fn config_text(text: &ConfigText) -> String {
    match text.language {
        ConfigLanguage::Sxp => {
            config::domain(text.text.as_bytes()).map_or_else(|_| text.text.clone(), |tree| config::pretty(&tree))
        }
        ConfigLanguage::Json | ConfigLanguage::XlCfg => text.text.clone(),
    }
}

fn guest(out: &mut String, image: &Image) -> std::fmt::Result {
    let mut row = |name: &str, value: Option<String>| match value {
        Some(value) => writeln!(out, "  {name:<18} {value}"),
        None => Ok(()),
    };
    let bits = |width: Option<u64>| width.map(|width| format!("{} bits", width * 8));
    row("kind", image.guest.map(str::to_uppercase))?;
    let converted = image.converted.then(|| "converted from a legacy image".to_owned());
    row(
        "saved by",
        image
            .saved_by
            .as_ref()
            .map(|version| format!("Xen {version}"))
            .or(converted),
    )?;
    row("toolstack", bits(image.toolstack_width))?;
    row("guest", bits(image.guest_width))?;
    row("page tables", image.levels.map(|levels| format!("{levels} levels")))?;
    let p2m = |size: u64| match image.p2m_frames {
        Some(frames) => format!("{size} entries ({size:#x}), in {frames} pages"),
        None => format!("{size} entries ({size:#x})"),
    };
    row("p2m", image.p2m_size.map(p2m))?;
    row(
        "extended info",
        image.extended_info.as_ref().map(|blocks| {
            let names: Vec<String> = blocks
                .iter()
                .map(|block| format!("{} ({} bytes)", block.id, block.bytes))
                .collect();
            names.join(", ")
        }),
    )?;
    row("unmapped", image.unmapped.map(|count| format!("{count} pages")))?;
    row("tsc", image.tsc.map(|tsc| tsc.to_string()))?;
    if let Some(online) = &image.online {
        row("vcpus online", Some(format!("{online:?}")))?;
    }
    row("vcpus", image.hvm_vcpus.map(|count| count.to_string()))?;
    for known in &image.vcpus {
        row(&format!("vcpu {}", known.id), Some(vcpu(known)))?;
    }
    for parameter in &image.hvm_parameters {
        let name = parameter
            .name
            .map_or_else(|| parameter.index.to_string(), str::to_lowercase);
        row("HVM parameter", Some(format!("{name} = {:#x}", parameter.value)))?;
    }
    row("device model", image.device_model.map(|bytes| format!("{bytes} bytes")))
}

fn vcpu(vcpu: &Vcpu) -> String {
    let hex = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value:#x}"));
    let plain = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value}"));
    let parts = [
        hex("ip", vcpu.ip),
        hex("CR3 page", vcpu.cr3),
        hex("CR1 page", vcpu.cr1),
        hex("start info page", vcpu.start_info),
        plain("GDT entries", vcpu.gdt_entries),
        plain("extended context", vcpu.extended),
        plain("xsave", vcpu.xsave),
        plain("MSRs", vcpu.msrs),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

fn pages(out: &mut String, report: &Report) -> std::fmt::Result {
    let pages = &report.pages;
    writeln!(out, "\nPages")?;
    let highest = pages
        .highest
        .map_or_else(String::new, |pfn| format!(", the highest is {pfn:#x}"));
    writeln!(
        out,
        "  {} entries, {} with data; {} different pages, {} of them more than once{highest}",
        pages.entries, pages.with_data, pages.distinct, pages.again
    )?;
    let types: Vec<String> = pages
        .types
        .iter()
        .map(|known| format!("{} {}", known.name, known.entries))
        .collect();
    writeln!(out, "  {}", types.join(", "))?;
    if report.rounds.len() > 1 {
        writeln!(
            out,
            "  {} rounds: the domain ran while it was saved",
            report.rounds.len()
        )?;
    }
    for (round, number) in report.rounds.iter().zip(1..).filter(|_| report.rounds.len() > 1) {
        let (entries, offset) = (round.entries, round.offset);
        writeln!(out, "    round {number:<3} {entries:>9} pages  at {offset:#x}")?;
    }
    Ok(())
}

fn parts(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "\n  {:>12} {:>12} {:>6}  what", "offset", "bytes", "count")?;
    for part in &report.parts {
        let detail = if part.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", part.detail)
        };
        let (offset, bytes, count) = (format!("{:#x}", part.offset), part.bytes, part.count);
        writeln!(out, "  {offset:>12} {bytes:>12} {count:>6}  {}{detail}", part.name)?;
    }
    if report.parts_left_out > 0 {
        writeln!(out, "  ... and {} more", report.parts_left_out)?;
    }
    Ok(())
}

fn findings(out: &mut String, report: &Report) -> std::fmt::Result {
    for (fault, title) in [(true, "Wrong"), (false, "Odd")] {
        let mut found = report
            .findings
            .iter()
            .filter(|finding| finding.fault == fault)
            .peekable();
        if found.peek().is_some() {
            writeln!(out, "\n{title}")?;
        }
        for finding in found {
            writeln!(out, "  {finding}")?;
        }
    }
    if report.findings_left_out > 0 {
        writeln!(out, "  ... and {} more findings", report.findings_left_out)?;
    }
    Ok(())
}

/// Without control characters, which a file could use to play with the terminal.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
