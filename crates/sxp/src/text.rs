//! Bytes as text, without loss.

/// What a byte that is not part of valid UTF-8 becomes: this code point plus the byte. The last 128 code points are for private use, and nobody uses them.
const ESCAPE: u32 = 0x10_ff00;

/// Any bytes as a string. Valid UTF-8 stays as it is; every other byte `b` (0x80 to 0xff) becomes the private code point U+10FF00 + b. Input that
/// holds such a code point itself is carried byte by byte in the same way, so that [`bytes_of_text`] always gives the bytes back.
pub fn text_from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if escaped(c).is_some() {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer)
                    .bytes()
                    .for_each(|byte| text.push(escape(byte)));
            } else {
                text.push(c);
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push(escape(*byte)));
    }
    text
}

/// The bytes that [`text_from_bytes`] was given; for other strings their UTF-8.
pub fn bytes_of_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn escape(byte: u8) -> char {
    char::from_u32(ESCAPE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn escaped(c: char) -> Option<u8> {
    (u32::from(c) >= ESCAPE + 0x80).then(|| (u32::from(c) & 0xff) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(bytes_of_text(&text_from_bytes(&bytes)), bytes);
        }
    }

    #[test]
    fn the_escapes_own_code_points_come_back() {
        let bytes = "a\u{10ffe9}b".as_bytes();
        assert_eq!(bytes_of_text(&text_from_bytes(bytes)), bytes);
        assert_eq!(text_from_bytes("é".as_bytes()), "é");
        assert_eq!(text_from_bytes(b"caf\xe9"), "caf\u{10ffe9}");
    }
}
