//! Answers as text. Whatever came from elsewhere passes [`escape`] before it reaches a terminal.

use peer::control::{Decision, DomainLine, Doubt, Info, Migrated, RelocationLine, SpoolLine};
use serde::Serialize;
use sxp::Sexp;

use crate::{
    progress,
    units::{bytes, millis, plural, span},
};

/// What xend's `xm list` begins with.
const LIST_HEADER: &str = "Name                                        ID   Mem VCPUs      State   Time(s)";

/// Text with everything escaped that a terminal would act on, or that would show it in another order than it stands.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A byte that was not UTF-8 on the wire: sxp keeps it as one of these.
            '\u{10ff80}'..='\u{10ffff}' => out.push_str(&format!("\\x{:02x}", u32::from(c) & 0xff)),
            c if acts(c) && c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Whether a terminal does something else with it than show it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// `{"KEY": VALUE}` on a line of its own. Within JSON only strings can hold what a terminal acts on, and there an escape means the same.
pub(crate) fn json(key: &str, value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let text = serde_json::json!({ key: value }).to_string();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if acts(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

/// `xm list`.
pub(crate) fn domains(domains: &[DomainLine]) -> String {
    let mut text = format!("{LIST_HEADER}\n");
    for domain in domains {
        text.push_str(&format!(
            "{:<40} {:>5} {:>5} {:>5} {:>10} {:>9.1}\n",
            escape(&domain.name),
            domain.domid,
            domain.memory_mib,
            domain.vcpus,
            escape(&domain.state),
            domain.cpu_time,
        ));
    }
    text
}

/// `xm list -l`: the configurations, with what is known of the running domain.
pub(crate) fn domains_long(domains: &[DomainLine]) -> String {
    let pair = |key: &str, value: String| Sexp::List(vec![sxp::atom(key), sxp::atom(&value)]);
    let mut text = String::new();
    for domain in domains {
        let mut list = vec![sxp::atom("domain"), pair("domid", domain.domid.to_string())];
        match &domain.config {
            Some(sxp::Raw(Sexp::List(config))) => list.extend(config.iter().skip(1).cloned()),
            _ => {
                list.push(pair("name", domain.name.clone()));
                list.extend(domain.uuid.map(|uuid| pair("uuid", uuid.to_string())));
                list.push(pair("memory", domain.memory_mib.to_string()));
                list.push(pair("vcpus", domain.vcpus.to_string()));
            }
        }
        list.push(pair("state", domain.state.clone()));
        list.push(pair("cpu_time", format!("{:.1}", domain.cpu_time)));
        pretty(&Sexp::List(list), 0, &mut text);
        text.push('\n');
    }
    text
}

/// A list of atoms on one line; in others each list on lines of its own. As deep as the tree, which the reader bounds. The printer of `sxp` escapes.
fn pretty(value: &Sexp, depth: usize, out: &mut String) {
    let is_list = |item: &Sexp| matches!(item, Sexp::List(_));
    match value {
        Sexp::List(items) if items.iter().any(is_list) => {
            out.push('(');
            for (at, item) in items.iter().enumerate() {
                if is_list(item) {
                    out.push('\n');
                    out.push_str(&"    ".repeat(depth + 1));
                } else if at > 0 {
                    out.push(' ');
                }
                pretty(item, depth + 1, out);
            }
            out.push('\n');
            out.push_str(&"    ".repeat(depth));
            out.push(')');
        }
        value => out.push_str(&String::from_utf8_lossy(&sxp::to_bytes(value))),
    }
}

/// `xm info`.
pub(crate) fn info(info: &Info) -> String {
    let host = &info.host;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key:<22} : {}\n", escape(value)));
    line("host", &host.name);
    line("machine", &host.architecture);
    line("nr_cpus", &host.processors.to_string());
    line("virt_caps", &host.virtualization.join(" "));
    line("total_memory", &(host.total_memory_kib / 1024).to_string());
    line("free_memory", &(host.free_memory_kib / 1024).to_string());
    if host.dom0_gives_kib > 0 {
        line("free_memory_dom0", &(host.dom0_gives_kib / 1024).to_string());
    }
    line("toolstack", &host.toolstack);
    line("toolstack_version", &host.version);
    for bridge in &host.bridges {
        let subnets: Vec<String> = bridge.subnets.iter().map(ToString::to_string).collect();
        line("bridge", &format!("{} {}", bridge.name, subnets.join(" ")));
    }
    line("relocd_version", &info.relocd_version);
    line("config_file", &info.config_file);
    line("listening", &info.listening.join(" "));
    // A value that is empty leaves no blank at the end.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The last line of `xm migrate`.
pub(crate) fn migrated(done: &Migrated) -> String {
    let (domain, host) = (escape(&done.domain), escape(&done.host));
    let now = match &done.xend {
        Some(version) => format!("now runs on {host} (an xend of Xen {})", escape(version)),
        None if done.spooled => format!("is now in the spool of {host}, on disk"),
        None => format!("now runs on {host} (domain {})", done.domid),
    };
    let line = format!(
        "Domain '{domain}' {now}: {}, {}, {}, {} on the wire, {} in all, {} downtime\n",
        escape(&done.mode),
        plural(u64::from(done.rounds), "round"),
        plural(done.pages, "page"),
        bytes(done.wire_bytes),
        millis(done.total_ms),
        millis(done.downtime_ms),
    );
    line + &left_out("Left out", &done.left_out)
}

/// The answer to a dry run towards an xend.
pub(crate) fn admitted_to_xend(domain: &str, host: &str, version: &str, left: &[String]) -> String {
    let text = format!(
        "Nothing that can be known here keeps domain '{}' from going to {}, an xend of Xen {}; it can't be asked whether it takes it. Nothing was moved.\n",
        escape(domain),
        escape(host),
        escape(version),
    );
    text + &left_out("To be left out", left)
}

/// What an xend can't take, a line each.
fn left_out(title: &str, names: &[String]) -> String {
    let line = |name: &String| format!("{title}: {}\n", escape(name));
    names.iter().map(line).collect()
}

/// `xm status`. `now`: seconds since 1970.
pub(crate) fn status(relocations: &[RelocationLine], now: u64) -> String {
    if relocations.is_empty() {
        return "No relocations.\n".to_owned();
    }
    let mut rows = vec![["Relocation", "Dir", "Domain", "Peer", "Mode", "State", "Started"].map(str::to_owned)];
    rows.extend(relocations.iter().map(|relocation| {
        let started = ago(relocation.started, now);
        let words = [
            &relocation.direction,
            &relocation.domain,
            &relocation.peer,
            &relocation.mode,
            &relocation.state,
        ];
        let [direction, domain, peer, mode, state] = words.map(|word| escape(word));
        [relocation.id.to_string(), direction, domain, peer, mode, state, started]
    }));
    let mut text = String::new();
    for (at, line) in table(&rows).into_iter().enumerate() {
        text.push_str(&line);
        let Some(relocation) = at.checked_sub(1).and_then(|at| relocations.get(at)) else {
            continue;
        };
        if let Some(now) = relocation.progress.as_ref().filter(|now| now.round > 0) {
            text.push_str(&format!("    {}\n", progress::describe(now)));
        }
        if let Some(detail) = relocation.detail.as_deref().filter(|detail| !detail.is_empty()) {
            text.push_str(&format!("    {}\n", escape(detail)));
        }
        if matches!(relocation.state.as_str(), "in-doubt" | "lost") {
            let id = relocation.id;
            text.push_str(&format!(
                "    xm resolve {id} tells what is known, and what can be decided\n"
            ));
        }
    }
    text
}

/// `xm resolve ID`.
pub(crate) fn doubt(doubt: &Doubt) -> String {
    let way = if doubt.direction == "in" { "from" } else { "to" };
    let mut text = format!(
        "Relocation {} of domain '{}' {way} {}: {}\nWhat happened: {}\nWhat is known:\n",
        doubt.id,
        escape(&doubt.domain),
        escape(&doubt.peer),
        escape(&doubt.state),
        escape(&doubt.happened),
    );
    for known in &doubt.known {
        text.push_str(&format!("  - {}\n", escape(known)));
    }
    text.push_str("What can be decided:\n");
    for choice in &doubt.choices {
        let option = match choice.decision {
            Decision::Resume => "--resume",
            Decision::Destroy => "--destroy",
        };
        text.push_str(&format!(
            "  xm resolve {} {option}\n      {}\n",
            doubt.id,
            escape(&choice.means)
        ));
        if let Some(danger) = &choice.danger {
            text.push_str(&format!("      danger: {}\n", escape(danger)));
        }
    }
    text
}

/// `xm spool list`. `now`: seconds since 1970.
pub(crate) fn spool(directory: &str, free: u64, entries: &[SpoolLine], faults: &[String], now: u64) -> String {
    let mut rows = vec![["Domain", "Id", "State", "Size", "From", "Since"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let [name, state, peer] = [&entry.name, &entry.state, &entry.peer].map(|word| escape(word));
        [
            name,
            entry.id.to_string(),
            state,
            bytes(entry.bytes),
            peer,
            ago(entry.since, now),
        ]
    }));
    let mut text = String::new();
    if entries.is_empty() {
        text.push_str("No domains.\n");
    } else {
        for (at, line) in table(&rows).into_iter().enumerate() {
            text.push_str(&line);
            let entry = at.checked_sub(1).and_then(|at| entries.get(at));
            if let Some(reason) = entry.and_then(|entry| entry.reason.as_deref()) {
                text.push_str(&format!("    {}\n", escape(reason)));
            }
        }
    }
    for fault in faults {
        text.push_str(&format!("Warning: {}\n", escape(fault)));
    }
    text.push_str(&format!("{} free in {}\n", bytes(free), escape(directory)));
    text
}

/// The last line of `xm spool restore`.
pub(crate) fn restored(name: &str, domid: u32, left: Option<&str>) -> String {
    let mut text = format!("Domain '{}' now runs here (domain {domid})\n", escape(name));
    if let Some(why) = left {
        text.push_str(&format!(
            "Its file is still in the spool, and must not be restored again; xm spool delete removes it: {}\n",
            escape(why)
        ));
    }
    text
}

/// When something was, in words.
fn ago(then: u64, now: u64) -> String {
    match now.checked_sub(then) {
        Some(ago) => format!("{} ago", span(ago)),
        // The clock was set back since then.
        None => "later".to_owned(),
    }
}

/// Rows as lines with columns.
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
