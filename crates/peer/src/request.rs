//! Requests on the relocation port, in xend's grammar, and the replies.
//!
//! Facts from xend 3.0.3 to 4.4 as observed: a request is one S-expression. The operation is the value itself if it is an
//! atom or string, else the first element of the list; further elements are ignored. `.` in a name counts as `_`. Replies are
//! one list and a newline.

use sexp::{Atom, Sexp};

use crate::native::message::{Hello, OutcomeQuery, Relocate};

/// What a peer asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// `help`: which operations there are.
    Help,
    /// `quit`: close the connection.
    Quit,
    /// `receive`: an xend wants to send a domain.
    Receive,
    /// `sslreceive`: the same, on a connection with TLS.
    SslReceive,
    /// `hello`: a relocd introduces itself.
    Hello(Hello),
    /// `relocate`: a relocd wants to send a domain.
    Relocate(Box<Relocate>),
    /// `outcome`: a relocd asks how a relocation ended.
    Outcome(OutcomeQuery),
}

/// Why a value is not a request. [`RequestError::reply`] is what xend would answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such operation.
    #[error("Invalid operation: {0}")]
    UnknownOperation(String),
    /// `()`: xend fails with a Python error, whose text is part of what its peers may have seen.
    #[error("'NoneType' object has no attribute 'replace'")]
    EmptyList,
    /// The operation is known, what follows is wrong.
    #[error("{operation}: {reason}")]
    Malformed {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Request {
    /// Understands one value of the connection.
    ///
    /// # Errors
    /// [`RequestError`], to be answered with its reply; the connection goes on.
    pub fn parse(value: &Sexp) -> Result<Request, RequestError> {
        let name = match value {
            Sexp::Atom(atom) => atom_text(atom),
            Sexp::List(list) => match list.first() {
                None => return Err(RequestError::EmptyList),
                Some(Sexp::Atom(atom)) => atom_text(atom),
                Some(Sexp::List(_)) => return Err(RequestError::UnknownOperation(show(value))),
            },
        };
        match name.as_str() {
            "help" => Ok(Request::Help),
            "quit" => Ok(Request::Quit),
            "receive" => Ok(Request::Receive),
            "sslreceive" => Ok(Request::SslReceive),
            // Bare `hello` is no introduction: answered as an xend answers it.
            "hello" if matches!(value, Sexp::List(list) if list.len() > 1) => body("hello", value).map(Request::Hello),
            "relocate" => body("relocate", value).map(|relocate| Request::Relocate(Box::new(relocate))),
            "outcome" => body("outcome", value).map(Request::Outcome),
            _ => Err(RequestError::UnknownOperation(name)),
        }
    }
}

fn body<T: serde::de::DeserializeOwned>(operation: &'static str, value: &Sexp) -> Result<T, RequestError> {
    let Sexp::List(list) = value else {
        return Err(RequestError::Malformed {
            operation,
            reason: "expected a list".to_owned(),
        });
    };
    let fields = Sexp::List(list.iter().skip(1).cloned().collect());
    sxp::from_sexp(&fields).map_err(|error| RequestError::Malformed {
        operation,
        reason: error.to_string(),
    })
}

fn atom_text(atom: &Atom) -> String {
    match atom {
        Atom::S(text) => text.clone(),
        Atom::I(number) => number.to_string(),
        Atom::F(number) => number.to_string(),
    }
}

/// An operation's name that is itself a list, cut to a length that fits a reply.
fn show(value: &Sexp) -> String {
    let mut text = String::from_utf8_lossy(&sxp::to_bytes(value)).into_owned();
    let end = text.char_indices().nth(80).map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text
}

/// The classes of error that an xend names; printed as Python 2.5 and later print them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XendErrorClass {
    /// Anything that xend itself refuses.
    XendError,
    /// A request that is no S-expression.
    ParseError,
    /// A domain that can't be made.
    VmError,
    /// What `()` provokes.
    AttributeError,
}

impl XendErrorClass {
    fn text(self) -> &'static str {
        match self {
            XendErrorClass::XendError => "<class 'xen.xend.XendError.XendError'>",
            XendErrorClass::ParseError => "<class 'xen.xend.sxp.ParseError'>",
            XendErrorClass::VmError => "<class 'xen.xend.XendError.VmError'>",
            XendErrorClass::AttributeError => "<type 'exceptions.AttributeError'>",
        }
    }
}

impl RequestError {
    /// The reply, with its newline.
    pub fn reply(&self) -> Vec<u8> {
        let class = match self {
            RequestError::EmptyList => XendErrorClass::AttributeError,
            RequestError::UnknownOperation(_) | RequestError::Malformed { .. } => XendErrorClass::XendError,
        };
        error_line(class.text(), &self.to_string())
    }
}

/// xend's answer to `help`, from version 3.3 on. Its list says what xend knows: relocd's own operations are found out by `hello`.
pub const HELP_REPLY: &[u8] = b"(ok (help quit receive sslreceive))\n";

/// xend's reply to bytes that are no S-expression: `text` is the reader's message.
pub fn parse_error_reply(text: &str) -> Vec<u8> {
    error_line(XendErrorClass::ParseError.text(), text)
}

/// relocd's own error reply: `(err (type WORD) (value 'TEXT'))` and a newline.
pub fn error_line(word: &str, text: &str) -> Vec<u8> {
    let atom = |text: &str| Sexp::Atom(Atom::S(text.to_owned()));
    let pair = |key: &str, value: &str| Sexp::List(vec![atom(key), atom(value)]);
    line(&Sexp::List(vec![atom("err"), pair("type", word), pair("value", text)]))
}

/// A value as one line of a connection.
pub fn line(value: &Sexp) -> Vec<u8> {
    let mut bytes = sxp::to_bytes(value);
    bytes.push(b'\n');
    bytes
}
