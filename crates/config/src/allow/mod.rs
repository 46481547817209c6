//! `xend-relocation-hosts-allow`.
//!
//! A list of entries with one space between them. An entry that is an address or a CIDR block is exactly that network. Any other is a regular
//! expression as xend's: anchored at the start only, against the peer's address and each of its names. xend took a reverse look-up's word for the
//! name; here the caller gives only names that resolve back to the address, and an expression without a letter of its own is for addresses only.
//!
//! Two spaces in a row, or one at an end, made an empty pattern for xend, which let everyone in. Here an empty entry matches nothing.
//!
//! `localhost` and `localhost.localdomain`, with or without anchors, let in the loopback addresses even where no look-up works: they always
//! carry these names. An IPv4 peer on an IPv6 socket counts as IPv4, so `::/0` is for IPv6 peers only.

mod class;
mod pattern;

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use pattern::Pattern;

use crate::{
    diagnostic::{Severity, shown},
    value::meant_as_address,
};

/// Regular expressions in one list: each costs memory, and time for each connection.
const MAX_PATTERNS: usize = 1024;

/// Who may send domains here. The default is localhost only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    everyone: bool,
    entries: Vec<Entry>,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    text: String,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Network(IpNet),
    Pattern {
        pattern: Pattern,
        /// It is one of localhost's names.
        loopback: bool,
        /// It can match more than localhost.
        names: bool,
        /// It means addresses only.
        addresses: bool,
    },
}

/// Whether a peer is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Allowed {
        /// The first entry that matches, as it was written.
        entry: String,
        /// What it matches.
        by: AllowedBy,
    },
    /// It is not.
    Refused,
}

/// What of a peer matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedBy {
    /// Its address.
    Address,
    /// This name.
    Name(String),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        // What an entry matches follows from its text.
        self.text == other.text
    }
}

impl Eq for Entry {}

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.text, 200))
    }
}

impl Entry {
    /// The entry as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The networks it is sure to let in: itself, or loopback for localhost's names. Empty for a regular expression.
    pub fn networks(&self) -> Vec<IpNet> {
        match &self.matcher {
            Matcher::Network(network) => vec![*network],
            Matcher::Pattern { loopback: true, .. } => loopback().to_vec(),
            Matcher::Pattern { .. } => Vec::new(),
        }
    }

    /// Whether it can let in more than its networks.
    pub fn is_pattern(&self) -> bool {
        matches!(self.matcher, Matcher::Pattern { names: true, .. })
    }

    fn check(&self, address: IpAddr, address_text: &str, names: &[String]) -> Option<AllowedBy> {
        match &self.matcher {
            Matcher::Network(network) => network.contains(&address).then_some(AllowedBy::Address),
            Matcher::Pattern {
                pattern,
                loopback,
                addresses,
                ..
            } => {
                if (*loopback && address.is_loopback()) || pattern.matches(address_text) {
                    return Some(AllowedBy::Address);
                }
                if *addresses {
                    return None;
                }
                let name = names.iter().find(|name| pattern.matches(name))?;
                Some(AllowedBy::Name(name.clone()))
            }
        }
    }
}

impl Default for AllowList {
    fn default() -> Self {
        let network = |network: IpNet| Entry {
            text: network.to_string(),
            matcher: Matcher::Network(network),
        };
        AllowList {
            everyone: false,
            entries: loopback().map(network).to_vec(),
        }
    }
}

impl AllowList {
    /// Whether a peer is let in. `confirmed_names` are names of the peer that resolve back to its address.
    pub fn check(&self, address: IpAddr, confirmed_names: &[String]) -> Verdict {
        if self.everyone {
            return Verdict::Allowed {
                entry: "''".to_owned(),
                by: AllowedBy::Address,
            };
        }
        let address = address.to_canonical();
        let text = address.to_string();
        let found = self
            .entries
            .iter()
            .find_map(|entry| Some((entry, entry.check(address, &text, confirmed_names)?)));
        match found {
            Some((entry, by)) => Verdict::Allowed {
                entry: entry.text.clone(),
                by,
            },
            None => Verdict::Refused,
        }
    }

    /// Whether a peer's names can make a difference. Not for localhost's: only loopback addresses confirm them.
    pub fn needs_names(&self) -> bool {
        let can_match = |entry: &Entry| {
            matches!(
                entry.matcher,
                Matcher::Pattern {
                    names: true,
                    addresses: false,
                    ..
                }
            )
        };
        !self.everyone && self.entries.iter().any(can_match)
    }

    /// Whether every peer is let in.
    pub fn is_everyone(&self) -> bool {
        self.everyone
    }

    /// The entries, but empty ones; none if everyone is let in.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The list that a value of the key stands for, and what is to be said about it. With an error among that the list is not to be used.
    pub(crate) fn read(text: &str) -> (AllowList, Vec<(Severity, String)>) {
        let mut said = Vec::new();
        if text.is_empty() {
            said.push((
                Severity::Warning,
                "'' lets in every host that can reach the port".to_owned(),
            ));
            return (
                AllowList {
                    everyone: true,
                    entries: Vec::new(),
                },
                said,
            );
        }
        let mut entries = Vec::new();
        let mut patterns = 0;
        for (at, text) in text.split(' ').enumerate() {
            let name = || format!("entry {} '{}'", at + 1, shown(text, 100));
            match Matcher::read(text) {
                Ok((matcher, warnings)) => {
                    said.extend(warnings.into_iter().map(|what| (Severity::Warning, format!("{}: {what}", name()))));
                    patterns += usize::from(matches!(matcher, Matcher::Pattern { .. }));
                    if patterns > MAX_PATTERNS {
                        let what = format!("more than {MAX_PATTERNS} regular expressions");
                        said.push((Severity::Error, what));
                        break;
                    }
                    entries.push(Entry { text: text.to_owned(), matcher });
                }
                Err(Unusable::Empty) => said.push((
                    Severity::Warning,
                    format!("entry {} is empty (entries are separated by one space); it matches nothing here, but everyone in xend", at + 1),
                )),
                Err(Unusable::Wrong(what)) => said.push((Severity::Error, format!("{}: {what}", name()))),
            }
        }
        if entries.is_empty() && said.iter().all(|(severity, _)| *severity != Severity::Error) {
            said.push((Severity::Warning, "no entry: nobody is let in".to_owned()));
        }
        (
            AllowList {
                everyone: false,
                entries,
            },
            said,
        )
    }
}

enum Unusable {
    Empty,
    Wrong(String),
}

impl Matcher {
    fn read(text: &str) -> Result<(Matcher, Vec<String>), Unusable> {
        if text.is_empty() {
            return Err(Unusable::Empty);
        }
        let mut warnings = Vec::new();
        if let Some(network) = network(text) {
            let exact = canonical(network.trunc());
            if network.trunc() != network {
                warnings.push(format!("has bits beyond its prefix; it is taken as {exact}"));
            }
            return Ok((Matcher::Network(exact), warnings));
        }
        // Nothing that a pattern is tried against holds a slash: as one, this would match nobody, without a word.
        let block = text
            .split_once('/')
            .is_some_and(|(address, _)| meant_as_address(address));
        if block || (text.contains(':') && meant_as_address(text)) {
            return Err(Unusable::Wrong(
                "looks like an address or network, but is none".to_owned(),
            ));
        }
        let pattern = Pattern::new(text).map_err(|error| Unusable::Wrong(error.to_string()))?;
        if text.chars().any(char::is_control) {
            warnings
                .push("holds a control character; only one space separates entries, no tab and no line end".to_owned());
        }
        if !pattern.closed {
            warnings.push("has no closing $: it also matches whatever begins like it".to_owned());
        }
        let (loopback, closed) = localhost(text);
        Ok((
            Matcher::Pattern {
                pattern,
                loopback,
                names: !(loopback && closed),
                addresses: is_about_addresses(text),
            },
            warnings,
        ))
    }
}

/// An address or CIDR block.
fn network(text: &str) -> Option<IpNet> {
    match text.parse() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// An IPv4-mapped IPv6 network as the IPv4 network that it stands for.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    match mapped.map(|(address, length)| Ipv4Net::new(address, length)) {
        Some(Ok(v4)) => IpNet::V4(v4),
        _ => network,
    }
}

/// Whether an expression has no letter of its own, such as `^10\.1\.`: it means addresses, and whoever runs a zone could name a host
/// `10.1.2.example.com`.
fn is_about_addresses(text: &str) -> bool {
    let mut escaped = false;
    !text.chars().any(|character| {
        let letter = character.is_alphabetic() && !escaped;
        escaped = character == '\\' && !escaped;
        letter
    })
}

fn loopback() -> [IpNet; 2] {
    let v4 = Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).unwrap_or_default();
    [IpNet::V4(v4), IpNet::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST))]
}

/// Whether an entry is one of localhost's names, and whether it is closed, so that it is no other host's.
fn localhost(text: &str) -> (bool, bool) {
    let name = text.strip_prefix('^').unwrap_or(text);
    let (name, closed) = match name.strip_suffix('$') {
        Some(name) => (name, true),
        None => (name, false),
    };
    (
        matches!(name, "localhost" | "localhost.localdomain" | "localhost\\.localdomain"),
        closed,
    )
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
