//! A domain goes to a xend.

use std::io::{self, IoSlice, Write};

use image::{
    ImageError, ImageSink, Item, PAGE_SIZE,
    legacy::{LegacySink, LegacyWriteOptions},
};
use sexp::Sexp;

use crate::native::{
    Link,
    message::{self, Refused, ReplyError},
};

/// Bytes of an image that are kept back for the commit: its last ones, the shared info, without which no xend can restore a PV guest.
pub const TAIL: usize = PAGE_SIZE;

/// What a xend answers to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `(ready receive)`: it reads.
    Ready,
    /// `(ok)`: the domain runs there.
    Ok,
    /// `(err (type T) (value V))`.
    Err(Refused),
}

impl Answer {
    /// Understands an answer.
    ///
    /// # Errors
    /// [`ReplyError`] for what no xend says here.
    pub fn parse(value: &Sexp) -> Result<Answer, ReplyError> {
        let words: Option<Vec<String>> = match value {
            Sexp::List(list) => list.iter().map(sxp::text).collect(),
            Sexp::Atom(_) => None,
        };
        match words.as_deref() {
            Some([ready, receive]) if ready == "ready" && receive == "receive" => Ok(Answer::Ready),
            Some([ok]) if ok == "ok" => Ok(Answer::Ok),
            _ => match message::Reply::parse(value)? {
                message::Reply::Err(refused) => Ok(Answer::Err(refused)),
                other => Err(ReplyError {
                    found: message::plain_text(&format!("{other:?}")),
                    reason: "no answer of a xend's".to_owned(),
                }),
            },
        }
    }
}

/// Sends a 64-bit PV guest's image to a xend, behind its envelope and up to its last [`TAIL`] bytes, which are the commit: see [`XendSink::into_parts`].
/// The xend has to have said [`Answer::Ready`].
pub struct XendSink<L> {
    sink: LegacySink<HeldBack<L>>,
    envelope: Vec<u8>,
    written: u64,
    finished: bool,
}

impl<L: Link> XendSink<L> {
    /// A sink at the start of an image. `envelope`: of [`envelope`](super::envelope()).
    pub fn new(link: L, envelope: Vec<u8>, options: LegacyWriteOptions) -> XendSink<L> {
        let link = HeldBack {
            link,
            tail: Vec::with_capacity(TAIL),
            failed: None,
        };
        XendSink {
            sink: LegacySink::new(link, options),
            envelope,
            written: 0,
            finished: false,
        }
    }

    /// Bytes of envelope and image up to now, with those that are kept back.
    pub fn written(&self) -> u64 {
        self.written + self.sink.written()
    }

    /// What the image had up to now and a legacy image can't carry, each by its name.
    pub fn left_out(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.sink.left_out()
    }

    /// The connection, and the last bytes of the image: none unless it has been put in whole. The xend runs the domain once it has them.
    pub fn into_parts(self) -> (L, Option<Vec<u8>>) {
        let HeldBack { link, tail, .. } = self.sink.into_inner();
        (link, self.finished.then_some(tail))
    }

    fn send(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        let link = &mut self.sink.get_mut().link;
        link.check()?;
        if !self.envelope.is_empty() {
            let envelope = std::mem::take(&mut self.envelope);
            link.write(&mut [IoSlice::new(&envelope)])?;
            self.written += envelope.len() as u64;
        }
        self.sink.put(item)
    }
}

impl<L: Link> ImageSink for XendSink<L> {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        let sent = self.send(item);
        // What the connection says is more than that a write has failed.
        if let Some(error) = self.sink.get_mut().failed.take() {
            return Err(error);
        }
        self.finished |= sent.is_ok() && matches!(item, Item::Finish);
        sent
    }
}

/// A connection that gets everything but the last [`TAIL`] bytes.
struct HeldBack<L> {
    link: L,
    tail: Vec<u8>,
    failed: Option<ImageError>,
}

impl<L: Link> Write for HeldBack<L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let out = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        let (old, _) = self.tail.split_at(out.min(self.tail.len()));
        let (new, keep) = bytes.split_at(out - old.len());
        if out > 0
            && let Err(error) = self.link.write(&mut [IoSlice::new(old), IoSlice::new(new)])
        {
            self.failed = Some(error);
            return Err(io::ErrorKind::Other.into());
        }
        let gone = old.len();
        self.tail.drain(..gone);
        self.tail.extend(keep);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Collect(Vec<u8>);

    impl Link for Collect {
        fn write(&mut self, buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError> {
            buffers.iter().for_each(|buffer| self.0.extend(buffer.iter()));
            Ok(())
        }

        fn check(&mut self) -> Result<(), ImageError> {
            Ok(())
        }
    }

    #[test]
    fn the_last_bytes_stay_back_however_they_are_written() {
        let all: Vec<u8> = (0..5 * TAIL + 77).map(|at| (at % 251) as u8).collect();
        for piece in [1, 100, TAIL - 1, TAIL, TAIL + 1, 3 * TAIL, all.len()] {
            let mut held = HeldBack {
                link: Collect::default(),
                tail: Vec::new(),
                failed: None,
            };
            let mut put = 0;
            for bytes in all.chunks(piece) {
                held.write_all(bytes).unwrap();
                put += bytes.len();
                assert_eq!(held.link.0.len(), put.saturating_sub(TAIL), "{piece}");
            }
            assert_eq!([held.link.0, held.tail].concat(), all, "{piece}");
        }
    }

    #[test]
    fn what_a_xend_answers() {
        let parse = |text: &[u8]| {
            let value = sxp::Reader::new(sxp::Limits::default()).feed(text).unwrap().1.unwrap();
            Answer::parse(&value)
        };
        assert_eq!(parse(b"(ready receive)\n"), Ok(Answer::Ready));
        assert_eq!(parse(b"(ok)\n"), Ok(Answer::Ok));
        let observed = b"(err (type \"<class 'xen.xend.XendError.VmError'>\") (value \"VM name 'pv1' already exists as domain 18\"))\n";
        match parse(observed) {
            Ok(Answer::Err(refused)) => assert_eq!(refused.text, "VM name 'pv1' already exists as domain 18"),
            other => panic!("{other:?}"),
        }
        for other in [
            &b"(ready sslreceive)\n"[..],
            b"(ok (help quit))\n",
            b"ok\n",
            b"()\n",
            b"(loaded)\n",
        ] {
            assert!(parse(other).is_err());
        }
    }
}
