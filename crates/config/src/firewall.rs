//! Packet filter rules that say the same as the allow list, as far as addresses can.
//!
//! The rules live in a table or chain of their own, so that loading them again replaces them and nothing else. They only ever narrow: a port
//! that other rules close stays closed.

use std::fmt::Write;

use ipnet::IpNet;

use crate::{Config, allow::Entry};

/// The name of table and chain.
const NAME: &str = "relocd";

/// Rules for `nft -f`.
pub fn nft(config: &Config) -> String {
    let mut text = heading(config, "Load with: nft -f FILE");
    // Declared first, so that there always is something to delete.
    let _ = writeln!(text, "table inet {NAME}\ndelete table inet {NAME}");
    let ports = ports(config);
    if ports.is_empty() {
        return text;
    }
    let ports = format!("tcp dport {{ {} }}", join(&ports, ", "));
    let _ = writeln!(
        text,
        "table inet {NAME} {{\n    chain input {{\n        type filter hook input priority 0; policy accept;"
    );
    if config.hosts_allow.is_everyone() {
        let _ = writeln!(text, "        {ports} accept");
    } else {
        for network in networks(config) {
            let family = if matches!(network, IpNet::V4(_)) { "ip" } else { "ip6" };
            let _ = writeln!(text, "        {ports} {family} saddr {network} accept");
        }
        let _ = writeln!(text, "        {ports} drop");
    }
    let _ = writeln!(text, "    }}\n}}");
    text
}

/// A shell script that calls `iptables` and `ip6tables`.
pub fn iptables(config: &Config) -> String {
    let mut text = format!("#!/bin/sh\n{}set -e\n", heading(config, "Run with: sh FILE"));
    let ports = ports(config);
    let chain = NAME.to_ascii_uppercase();
    for (program, v4) in [("iptables", true), ("ip6tables", false)] {
        // One transaction: at no time is the port open to others.
        let _ = writeln!(text, "{program}-restore --noflush <<'END'\n*filter\n:{chain} - [0:0]");
        if !ports.is_empty() {
            let ports = format!("-A {chain} -p tcp -m multiport --dports {}", join(&ports, ","));
            if config.hosts_allow.is_everyone() {
                let _ = writeln!(text, "{ports} -j ACCEPT");
            } else {
                for network in networks(config).filter(|network| matches!(network, IpNet::V4(_)) == v4) {
                    let _ = writeln!(text, "{ports} -s {network} -j ACCEPT");
                }
                let _ = writeln!(text, "{ports} -j DROP");
            }
        }
        let _ = writeln!(text, "COMMIT\nEND");
        let _ = writeln!(
            text,
            "{program} -C INPUT -p tcp -j {chain} 2>/dev/null || {program} -I INPUT -p tcp -j {chain}"
        );
    }
    text
}

fn heading(config: &Config, how: &str) -> String {
    let mut text = format!("# relocd: who may reach the relocation ports. {how}\n");
    if ports(config).is_empty() {
        text.push_str("# no relocation server is switched on: there is nothing to protect\n");
    } else if config.hosts_allow.is_everyone() {
        text.push_str("# xend-relocation-hosts-allow is empty: every host is let in\n");
    } else {
        for entry in config.hosts_allow.entries().iter().filter(|entry| entry.is_pattern()) {
            let _ = writeln!(
                text,
                "# no rule for {} : a pattern, not an address. Add the hosts that it means",
                harmless(entry.text())
            );
        }
    }
    text
}

fn ports(config: &Config) -> Vec<String> {
    let plain = config.relocation_server.then_some(config.relocation_port);
    let ssl = config.ssl_server.then_some(config.ssl_port);
    plain.into_iter().chain(ssl).map(|port| port.to_string()).collect()
}

fn networks(config: &Config) -> impl Iterator<Item = IpNet> {
    let mut seen = std::collections::BTreeSet::new();
    let all = config.hosts_allow.entries().iter().flat_map(Entry::networks);
    all.filter(move |network| seen.insert(*network))
}

fn join(parts: &[String], with: &str) -> String {
    parts.join(with)
}

/// Text for a comment that stays one even when it is pasted into a shell that knows no comments: what a shell could act on is shown by its code.
fn harmless(text: &str) -> String {
    let mut out = String::new();
    for (at, byte) in sxp::bytes_of_text(text).into_iter().enumerate() {
        if at == 200 {
            out.push_str("...");
            break;
        }
        match byte {
            b'.' | b'_' | b'-' | b'^' | b'+' | b':' | b'/' | b'@' | b',' | b'=' | b'%' | b'[' | b']' => {
                out.push(byte as char)
            }
            // Followed by nothing that it could expand.
            b'$' if at + 1 == text.len() => out.push('$'),
            byte if byte.is_ascii_alphanumeric() => out.push(byte as char),
            // A name's dot, the usual case, stays readable.
            b'\\' if text.as_bytes().get(at + 1) == Some(&b'.') => out.push('\\'),
            byte => {
                let _ = write!(out, "%{byte:02x}");
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "firewall_tests.rs"]
mod tests;
