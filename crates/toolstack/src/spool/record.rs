//! What is known of a domain in the spool, beside its image.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

use domain::DomainConfig;
use serde::{Deserialize, Serialize};
use sexp::{Atom, Sexp};
use uuid::Uuid;

use super::SpoolError;

/// Version of the records.
const VERSION: u32 = 1;

/// Bytes in a record at most: the configuration twice. One of a thousand devices has a tenth of that.
pub(super) const MAX_RECORD: usize = 4 << 20;

/// Characters of a reason at most: it may be a peer's words.
const MAX_REASON: usize = 1000;

/// Why an image is written to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Whoever sends it gives up its own copy without being told that the domain runs here (xend). So a complete image is never thrown away.
    SafetyCopy,
    /// The image only passes through: it is read as it comes, and what has been read is given back to the disk. Nothing of it is ever kept.
    Passage,
    /// The sender keeps its own copy until this host has taken over (relocd): an image that a crash left without a decision is thrown away.
    Relocation,
}

/// What an entry is there for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// The image is on its way. Such a record is no entry yet.
    Arriving,
    /// The image is complete, and the relocation that brought it goes on: the domain is being started here, or the sender has not handed it over yet.
    Complete,
    /// It waits for an operator.
    Kept,
    /// It is being sent to another host, under the relocation `held_by`. The journal knows how far that has come.
    Sending,
    /// The domain is being built here, under the identity `held_by`. It has not run.
    Restoring,
    /// It has been built, and the decision is that it runs here: it may have run.
    Starting,
}

impl EntryState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            EntryState::Arriving => "arriving",
            EntryState::Complete => "complete",
            EntryState::Kept => "kept",
            EntryState::Sending => "sending",
            EntryState::Restoring => "restoring",
            EntryState::Starting => "starting",
        }
    }
}

/// A domain in the spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    pub(super) version: u32,
    /// The relocation that brought it, which is the entry's identity as well.
    pub id: Uuid,
    /// The domain's name.
    pub name: String,
    /// The domain's identity.
    pub uuid: Uuid,
    /// Where it came from: address and port.
    pub peer: String,
    /// Seconds since 1970 when it began to arrive.
    pub since: u64,
    /// Bytes in the image file; 0 while it arrives.
    pub bytes: u64,
    /// Why it was written.
    pub purpose: Purpose,
    /// What it is there for now.
    pub state: EntryState,
    /// The identity of what is being done with it: the relocation that sends it, the arrival that restores it.
    #[serde(default)]
    pub held_by: Option<Uuid>,
    /// Who asked for what is being done with it.
    #[serde(default)]
    pub asked_by: Option<String>,
    /// Why it is (still) here, for the operator.
    #[serde(default)]
    pub reason: Option<String>,
    /// `(domain ...)`, as relocd writes it.
    pub(super) config: sxp::Raw,
    /// `(domain ...)` as it came, if that was from an xend.
    #[serde(default)]
    pub original: Option<sxp::Raw>,
}

impl Entry {
    pub(super) fn new(id: Uuid, config: &DomainConfig, original: Option<&Sexp>, peer: &str, purpose: Purpose) -> Entry {
        Entry {
            version: VERSION,
            id,
            name: config.name.clone(),
            uuid: config.uuid,
            peer: peer.to_owned(),
            since: unix_seconds(),
            bytes: 0,
            purpose,
            state: EntryState::Arriving,
            held_by: None,
            asked_by: None,
            reason: None,
            config: sxp::Raw(config.to_sxp()),
            original: original.cloned().map(sxp::Raw),
        }
    }

    /// The domain's configuration.
    ///
    /// # Errors
    /// [`SpoolError::Config`] if this version can't read it.
    pub fn config(&self) -> Result<DomainConfig, SpoolError> {
        DomainConfig::from_sxp(&self.config.0).map_err(|error| SpoolError::Config(error.to_string()))
    }

    /// How long the domain has stood still.
    pub fn age(&self) -> Duration {
        Duration::from_secs(unix_seconds().saturating_sub(self.since))
    }

    /// What its files' names begin with: something to recognise, and the id.
    pub(super) fn stem(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.name.chars().take(40).map(plain).collect();
        format!("{name}.{}", self.id)
    }

    /// The record's bytes: one line.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, SpoolError> {
        let mut entry = self.clone();
        if let Some(reason) = &mut entry.reason
            && let Some((end, _)) = reason.char_indices().nth(MAX_REASON)
        {
            reason.truncate(end);
        }
        let tree = sxp::to_sexp(&entry).map_err(|error| SpoolError::Config(error.to_string()))?;
        let mut bytes = b"(spooled".to_vec();
        if let Sexp::List(fields) = &tree {
            for field in fields {
                bytes.push(b' ');
                bytes.extend_from_slice(&sxp::to_bytes(field));
            }
        }
        bytes.extend_from_slice(b")\n");
        if bytes.len() > MAX_RECORD {
            return Err(SpoolError::Config(format!(
                "{} bytes, more than the {MAX_RECORD} that the spool can keep",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// Reads a record.
    pub(super) fn read(path: &Path) -> Result<Entry, SpoolError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_RECORD as u64 + 1).read_to_end(&mut bytes))
            .map_err(|source| SpoolError::Io {
                path: path.to_owned(),
                what: "reading the record",
                source,
            })?;
        Entry::parse(path, &bytes)
    }

    /// Understands a record's bytes.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Entry, SpoolError> {
        let foreign = |what: String| SpoolError::Foreign {
            path: path.to_owned(),
            what,
        };
        let mut reader = sxp::Reader::new(sxp::Limits {
            max_bytes: MAX_RECORD,
            // What it holds has been read within the default depth.
            max_depth: sxp::Limits::default().max_depth + 8,
            max_parts: 4 * sxp::Limits::default().max_parts,
        });
        let (used, value) = reader.feed(bytes).map_err(|error| foreign(error.to_string()))?;
        // The newline is the last byte of a whole record.
        let fields = match value {
            Some(Sexp::List(list)) if bytes.get(used..) == Some(b"\n") => list,
            _ => return Err(foreign("the record is torn".to_owned())),
        };
        let entry: Entry = match fields.split_first() {
            Some((Sexp::Atom(Atom::S(word)), fields)) if word == "spooled" => {
                sxp::from_sexp(&Sexp::List(fields.to_vec())).map_err(|error| foreign(error.to_string()))?
            }
            _ => return Err(foreign("no (spooled ...)".to_owned())),
        };
        if entry.version != VERSION {
            let what = format!("version {}, this program knows {VERSION}", entry.version);
            return Err(foreign(what));
        }
        match path.file_stem() {
            Some(stem) if *stem == *entry.stem() => Ok(entry),
            _ => Err(foreign("the name is not the record's".to_owned())),
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
