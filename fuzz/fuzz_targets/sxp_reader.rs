//! What comes on the relocation port: any split of the bytes says the same, what is read is printed and read again as it was, and the typed messages take whatever
//! tree it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peer::{native::message::Reply, request::Request};
use sxp::{Limits, Reader, Sexp};

/// Values up to the end of the input or the first error, which is given as text.
fn values(bytes: &[u8], size: usize) -> (Vec<Sexp>, Option<String>) {
    let mut reader = Reader::new(Limits::default());
    let mut values = Vec::new();
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            match reader.feed(piece) {
                Ok((used, value)) => {
                    values.extend(value);
                    piece = &piece[used..];
                }
                Err(error) => return (values, Some(error.to_string())),
            }
        }
    }
    match reader.finish() {
        Ok(value) => values.extend(value),
        Err(error) => return (values, Some(error.to_string())),
    }
    (values, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let (whole, error) = values(bytes, usize::MAX);
    assert_eq!(values(bytes, usize::from(*size).max(1)), (whole.clone(), error));
    for value in whole {
        let printed = peer::request::line(&value);
        assert_eq!(values(&printed, 3), (vec![value.clone()], None));
        if let Err(error) = Request::parse(&value) {
            // A reply is one value on one line, whatever provoked it.
            assert_eq!(values(&error.reply(), 7).0.len(), 1);
        }
        let _ = Reply::parse(&value);
    }
});
