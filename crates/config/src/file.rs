//! From bytes to checked values: what stands in a file for each key.

use std::collections::HashMap;

use sxp::{Limits, Position, ReadError, Spanned, SpannedKind};

use crate::{
    diagnostic::{Report, Severity, shown},
    keys::{self, HOSTS_ALLOW, HOSTS_ALLOW_ALIAS, Key, Kind},
    settings::{Setting, Settings},
};

/// The longest file that is read.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// What a file sets, by key. What is wrong is told, and left out.
pub(crate) fn settings(bytes: &[u8], report: &mut Report) -> Settings {
    let (values, complete) = read(bytes, report);
    let mut settings = Settings::default();
    settings.complete = complete;
    for entry in entries(&values, report).into_values() {
        match check(entry.key, entry.list, report) {
            Ok(Some(setting)) => settings.insert(entry.key, setting),
            Ok(None) => {}
            Err(Wrong) => settings.insert_wrong(entry.key),
        }
    }
    settings
}

/// The values of a file; up to the first syntax error, if there is one. Whether that is all.
fn read(mut bytes: &[u8], report: &mut Report) -> (Vec<Spanned>, bool) {
    if bytes.len() > MAX_BYTES {
        report.add(
            Severity::Error,
            None,
            format!("{} bytes; expected {MAX_BYTES} at most", bytes.len()),
        );
        return (Vec::new(), false);
    }
    let limits = Limits {
        max_bytes: MAX_BYTES,
        ..Limits::default()
    };
    if let Some(position) = hidden_end(bytes, limits) {
        report.error(
            position,
            "byte 0x04: xend takes it for the end of the file and ignores what follows",
        );
    }
    let mut told = false;
    loop {
        match sxp::read_all(bytes, limits) {
            Ok(values) => return (values, !told),
            Err(error) => {
                if !told {
                    report.error(error.position, syntax(&error));
                    told = true;
                }
                // What stands before it is checked all the same. Cutting within a list leaves that unclosed, and is done again.
                let cut = usize::try_from(error.position.offset)
                    .unwrap_or(0)
                    .min(bytes.len().saturating_sub(1));
                bytes = bytes.get(..cut).unwrap_or_default();
            }
        }
    }
}

fn syntax(error: &ReadError) -> String {
    use sxp::ReadErrorKind::{UnclosedList, UnclosedString, UnexpectedClose};
    match error.kind {
        UnclosedList => "the list that begins here is not closed".to_owned(),
        UnclosedString => "the string that begins here is not closed".to_owned(),
        UnexpectedClose => "this ) closes nothing".to_owned(),
        _ => error.to_string(),
    }
}

/// Where a byte 0x04 stands between top-level values, which ends the input without an error.
fn hidden_end(bytes: &[u8], limits: Limits) -> Option<Position> {
    if !bytes.contains(&4) {
        return None;
    }
    // Another control byte is the same in comments and strings, but an error where 0x04 is an end.
    let other: Vec<u8> = bytes.iter().map(|&byte| if byte == 4 { 1 } else { byte }).collect();
    let error = sxp::read_all(&other, limits).err()?;
    let at = usize::try_from(error.position.offset).ok()?;
    (bytes.get(at) == Some(&4) && sxp::read_all(bytes, limits).is_ok()).then_some(error.position)
}

/// The entry that counts for a key.
struct Entry<'a> {
    key: &'static Key,
    alias: bool,
    at: Position,
    list: &'a [Spanned],
}

fn entries<'a>(values: &'a [Spanned], report: &mut Report) -> HashMap<&'static str, Entry<'a>> {
    let mut entries: HashMap<&'static str, Entry<'a>> = HashMap::new();
    for value in values {
        let list = match &value.kind {
            SpannedKind::List(list) => list,
            SpannedKind::Atom { text, .. } => {
                report.warning(
                    value.position,
                    format!("'{}' stands outside of any list and is ignored", shown(text, 60)),
                );
                continue;
            }
        };
        let Some(name) = list.first().and_then(text) else {
            report.warning(value.position, "a list that does not begin with a key is ignored");
            continue;
        };
        let alias = name == HOSTS_ALLOW_ALIAS;
        let Some(key) = keys::find(if alias { HOSTS_ALLOW } else { name }) else {
            let hint = keys::nearest(name).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            report.warning(value.position, format!("unknown key '{}'{hint}", shown(name, 60)));
            continue;
        };
        if alias {
            report.add(
                Severity::Note,
                Some(value.position),
                format!("{HOSTS_ALLOW_ALIAS} is taken as {HOSTS_ALLOW}; xend knows the latter only"),
            );
        }
        let entry = Entry {
            key,
            alias,
            at: value.position,
            list,
        };
        match entries.get_mut(key.name) {
            None => {
                entries.insert(key.name, entry);
            }
            // The key's own name goes before the alias, which xend does not know.
            Some(first) if first.alias && !alias => {
                let was = std::mem::replace(first, entry);
                duplicate(key, was.at, value.position, report);
            }
            Some(first) => duplicate(key, value.position, first.at, report),
        }
    }
    entries
}

fn duplicate(key: &Key, ignored: Position, counts: Position, report: &mut Report) {
    let what = format!(
        "{}: line {} is ignored, line {} counts",
        key.name, ignored.line, counts.line
    );
    report.warning(ignored, what);
}

fn text(value: &Spanned) -> Option<&str> {
    match &value.kind {
        SpannedKind::Atom { text, .. } => Some(text),
        SpannedKind::List(_) => None,
    }
}

/// A value that can't be used, which has been told.
struct Wrong;

/// The value of an entry, if it sets one.
fn check(key: &Key, list: &[Spanned], report: &mut Report) -> Result<Option<Setting>, Wrong> {
    // An attribute list, which xend skips.
    let attributes = list.get(1).is_some_and(|second| match &second.kind {
        SpannedKind::List(list) => list.first().and_then(text) == Some("@"),
        SpannedKind::Atom { .. } => false,
    });
    let mut values = list.iter().skip(if attributes { 2 } else { 1 });
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if let Some(more) = values.next() {
        report.warning(
            more.position,
            format!(
                "{}: only the first value counts; this and what follows is ignored",
                key.name
            ),
        );
    }
    for inner in list.iter().skip(1) {
        if let SpannedKind::List(inner_list) = &inner.kind
            && let Some(name) = inner_list.first().and_then(text)
            && keys::find(name).is_some()
        {
            report.warning(
                inner.position,
                format!(
                    "{name} stands within {} and has no effect there: is a ) missing before it?",
                    key.name
                ),
            );
        }
    }
    let found = match &value.kind {
        SpannedKind::List(_) if key.kind == Kind::Any => return Ok(None),
        SpannedKind::List(_) => "a list".to_owned(),
        SpannedKind::Atom { text, dropped, .. } => {
            for &at in dropped {
                let what = "this \\ and the character after it are no escape: the character is lost; write \\\\ for a backslash";
                report.warning(at, format!("{}: {what}", key.name));
            }
            match key.kind.read(text) {
                Some(value_read) => {
                    return Ok(Some(Setting {
                        value: value_read,
                        at: value.position,
                    }));
                }
                None => format!("'{}'", shown(text, 60)),
            }
        }
    };
    let severity = if key.acts { Severity::Error } else { Severity::Warning };
    let message = format!("{}: found {found}, expected {}", key.name, key.kind.expected());
    report.add(severity, Some(value.position), message);
    Err(Wrong)
}
