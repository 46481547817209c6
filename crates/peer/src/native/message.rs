//! The messages of the native protocol. Each is one S-expression and a newline.

use std::fmt;

use domain::HostFacts;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sexp::{Atom, Sexp};
use uuid::Uuid;

/// The version of the protocol that this program speaks.
pub const VERSION: u32 = 1;

/// The word that tells relocd's `hello` from anything else's.
pub const PROTOCOL: &str = "relocd";

/// A source introduces itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// Versions that it speaks, best first.
    pub versions: Vec<u32>,
    /// Optional things that it can do. None are defined yet; unknown ones are ignored.
    #[serde(default)]
    pub features: Vec<String>,
}

impl Hello {
    /// This program's introduction.
    pub fn ours() -> Hello {
        Hello {
            protocol: PROTOCOL.to_owned(),
            versions: vec![VERSION],
            features: Vec::new(),
        }
    }
}

/// A destination's answer to [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HelloReply {
    /// The version that both will speak.
    pub version: u32,
    /// Optional things that both can do.
    #[serde(default)]
    pub features: Vec<String>,
    /// What the destination is and offers.
    pub host: HostFacts,
}

/// How a domain is to be relocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeWord {
    /// Paused, copied, resumed there.
    Offline,
    /// Copied while it runs.
    Live,
}

impl ModeWord {
    /// The word itself.
    pub fn word(self) -> &'static str {
        match self {
            ModeWord::Offline => "offline",
            ModeWord::Live => "live",
        }
    }
}

/// What a source makes up for a relocation. Who has it is that source, whatever its address is by then.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Uuid);

impl Secret {
    /// A new one: 122 random bits.
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Secret {
        Secret(Uuid::new_v4())
    }
}

impl PartialEq for Secret {
    /// In the same time wherever they differ.
    fn eq(&self, other: &Secret) -> bool {
        let pairs = self.0.as_bytes().iter().zip(other.0.as_bytes());
        pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    /// For logs: not the secret itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A source asks a destination to take a domain in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Relocate {
    /// Identity of this relocation, made by the source, in both journals.
    pub id: Uuid,
    /// To be shown with a question for the outcome; in both journals, and nowhere else. Sources of the first days had none.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Live or offline. For the log: the image is of the same form.
    pub mode: ModeWord,
    /// Only check; nothing will be sent.
    #[serde(default)]
    pub dry_run: bool,
    /// The source's operator wants it tried in spite of what can be forced ([`domain::admission::Terms::force`]). Absent without that, as from sources of the
    /// first days; destinations of those days pass over it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The domain's configuration, `(domain ...)` as [`domain::DomainConfig`] prints it.
    pub config: sxp::Raw,
    /// What the source is.
    pub host: HostFacts,
}

/// A source asks how a relocation ended, after it lost the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OutcomeQuery {
    /// The relocation.
    pub id: Uuid,
    /// The one of its `relocate`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The domain, for a destination that has lost its record of the relocation: it looks for the domain itself then.
    #[serde(default)]
    pub uuid: Option<Uuid>,
}

/// How a relocation ended, as its destination knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The domain runs (or ran) at the destination.
    Running {
        /// Its number there; 0 if it has ended since.
        domid: u32,
    },
    /// The destination never had the commit, has discarded what it had, and will never run it.
    Discarded,
    /// The destination has the commit and is about to run the domain: ask again.
    Pending,
    /// The destination had the commit, but can't find the domain any more: an operator must look.
    Lost {
        /// What it knows.
        reason: String,
    },
}

/// What a destination says.
#[derive(Clone, Debug)]
pub enum Reply {
    /// `(ok (hello ...))`.
    Hello(HelloReply),
    /// `(ok admitted)`: a dry run would be let in.
    Admitted,
    /// `(ok (outcome ...))`.
    Outcome(Outcome),
    /// `(ready relocate (streams N))`: frames may follow.
    Ready,
    /// `(loaded)`: complete, paused, never run.
    Loaded,
    /// `(running (domid N))`.
    Running {
        /// The domain's number there.
        domid: u32,
    },
    /// `(err (type T) (value V))`.
    Err(Refused),
}

/// Characters of a peer's text at most.
const MAX_TEXT: usize = 1000;

/// A peer's text for logs, records and terminals: of bounded length, and without control characters.
pub fn plain_text(text: &str) -> String {
    let plain = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    text.chars().take(MAX_TEXT).map(plain).collect()
}

/// A refusal, or a failure, as the peer put it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// The word after `type`: `busy`, `insufficient-memory`; a class name from an xend.
    pub word: String,
    /// The reason in words.
    pub text: String,
}

/// A message that this program does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected reply {found}: {reason}")]
pub struct ReplyError {
    /// The reply, cut to a length for a log.
    pub found: String,
    /// What is wrong with it.
    pub reason: String,
}

fn atom(text: &str) -> Sexp {
    Sexp::Atom(Atom::S(text.to_owned()))
}

fn message<T: Serialize>(word: &str, body: &T) -> Result<Vec<u8>, sxp::SerdeError> {
    let mut list = vec![atom(word)];
    match sxp::to_sexp(body)? {
        Sexp::List(fields) => list.extend(fields),
        single @ Sexp::Atom(_) => list.push(single),
    }
    Ok(crate::request::line(&Sexp::List(list)))
}

impl Hello {
    /// The line on the wire.
    ///
    /// # Errors
    /// Never for values made by this program.
    pub fn to_line(&self) -> Result<Vec<u8>, sxp::SerdeError> {
        message("hello", self)
    }
}

impl Relocate {
    /// The line on the wire.
    ///
    /// # Errors
    /// Never for values made by this program.
    pub fn to_line(&self) -> Result<Vec<u8>, sxp::SerdeError> {
        message("relocate", self)
    }
}

impl OutcomeQuery {
    /// The line on the wire.
    ///
    /// # Errors
    /// Never for values made by this program.
    pub fn to_line(&self) -> Result<Vec<u8>, sxp::SerdeError> {
        message("outcome", self)
    }
}

/// `(commit)`: from here on the destination owns the domain.
pub const COMMIT_LINE: &[u8] = b"(commit)\n";

/// Whether a value is `(commit)`.
pub fn is_commit(value: &Sexp) -> bool {
    matches!(value, Sexp::List(list) if list.first() == Some(&atom("commit")))
}

impl Reply {
    /// The line on the wire.
    ///
    /// # Errors
    /// Never for values made by this program.
    pub fn to_line(&self) -> Result<Vec<u8>, sxp::SerdeError> {
        let ok = |inner: Sexp| crate::request::line(&Sexp::List(vec![atom("ok"), inner]));
        let named = |word: &str, body: Sexp| match body {
            Sexp::List(fields) => Sexp::List(std::iter::once(atom(word)).chain(fields).collect()),
            single @ Sexp::Atom(_) => Sexp::List(vec![atom(word), single]),
        };
        Ok(match self {
            Reply::Hello(hello) => ok(named("hello", sxp::to_sexp(hello)?)),
            Reply::Admitted => ok(atom("admitted")),
            Reply::Outcome(outcome) => ok(Sexp::List(vec![atom("outcome"), sxp::to_sexp(outcome)?])),
            Reply::Ready => b"(ready relocate (streams 1))\n".to_vec(),
            Reply::Loaded => b"(loaded)\n".to_vec(),
            Reply::Running { domid } => format!("(running (domid {domid}))\n").into_bytes(),
            Reply::Err(refused) => crate::request::error_line(&refused.word, &refused.text),
        })
    }

    /// Understands a reply.
    ///
    /// # Errors
    /// [`ReplyError`] for anything that this version of the protocol does not have.
    pub fn parse(value: &Sexp) -> Result<Reply, ReplyError> {
        parse(value).map_err(|reason| {
            let bytes = sxp::to_bytes(value);
            let found = String::from_utf8_lossy(bytes.get(..120).unwrap_or(&bytes)).into_owned();
            ReplyError { found, reason }
        })
    }
}

fn parse(value: &Sexp) -> Result<Reply, String> {
    let Sexp::List(list) = value else {
        return Err("expected a list".to_owned());
    };
    let word = |at: usize| match list.get(at) {
        Some(Sexp::Atom(Atom::S(text))) => Some(text.as_str()),
        _ => None,
    };
    match word(0) {
        Some("ok") => match list.get(1) {
            Some(Sexp::Atom(Atom::S(text))) if text == "admitted" => Ok(Reply::Admitted),
            Some(Sexp::List(inner)) => match inner.first() {
                Some(Sexp::Atom(Atom::S(text))) if text == "hello" => Ok(Reply::Hello(fields(inner)?)),
                Some(Sexp::Atom(Atom::S(text))) if text == "outcome" => {
                    let outcome = inner.get(1).ok_or("outcome without a value")?;
                    let outcome = match sxp::from_sexp(outcome).map_err(|error| error.to_string())? {
                        Outcome::Lost { reason } => Outcome::Lost {
                            reason: plain_text(&reason),
                        },
                        outcome => outcome,
                    };
                    Ok(Reply::Outcome(outcome))
                }
                _ => Err("an ok that was not asked for".to_owned()),
            },
            _ => Err("an ok that was not asked for".to_owned()),
        },
        Some("ready") if word(1) == Some("relocate") => Ok(Reply::Ready),
        Some("loaded") => Ok(Reply::Loaded),
        Some("running") => {
            #[derive(Deserialize)]
            struct Running {
                domid: u32,
            }
            fields::<Running>(list).map(|running| Reply::Running { domid: running.domid })
        }
        Some("err") => {
            #[derive(Deserialize)]
            struct Err {
                #[serde(default)]
                r#type: String,
                #[serde(default)]
                value: String,
            }
            fields::<Err>(list).map(|err| {
                Reply::Err(Refused {
                    word: plain_text(&err.r#type),
                    text: plain_text(&err.value),
                })
            })
        }
        _ => Err("no such reply".to_owned()),
    }
}

fn fields<T: DeserializeOwned>(list: &[Sexp]) -> Result<T, String> {
    sxp::from_sexp(&Sexp::List(list.iter().skip(1).cloned().collect())).map_err(|error| error.to_string())
}
