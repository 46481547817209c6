//! A libxl stream, record by record: what the two converters made is compared part by part.

/// The stream's headers or a record.
#[derive(PartialEq)]
pub struct Part<'a> {
    /// `libxl` or `libxc`.
    layer: &'static str,
    /// `None` for headers.
    pub kind: Option<u32>,
    body: &'a [u8],
    offset: usize,
}

/// A stream without its libxl records of one kind.
pub fn bytes_without_libxl(stream: &[u8], kind: u32) -> Vec<u8> {
    let parts = parts(stream);
    let ends = parts.iter().skip(1).map(|part| part.offset).chain([stream.len()]);
    let pieces = parts
        .iter()
        .zip(ends)
        .filter(|(part, _)| (part.layer, part.kind) != ("libxl", Some(kind)));
    pieces
        .flat_map(|(part, end)| stream[part.offset..end].to_vec())
        .collect()
}

/// Bytes of the libxl header, and of the libxc image's two.
const HEADERS: [usize; 2] = [16, 40];

/// Cuts a sound stream into its parts.
pub fn parts(stream: &[u8]) -> Vec<Part<'_>> {
    let mut offset = 0;
    let mut take = |length: usize| {
        let begin = offset;
        offset += length;
        (begin, &stream[begin..offset])
    };
    let mut parts = Vec::new();
    let mut layer = "libxl";
    let [libxl, libxc] = HEADERS;
    let (begin, body) = take(libxl);
    parts.push(Part {
        layer,
        kind: None,
        body,
        offset: begin,
    });
    loop {
        let (begin, header) = take(8);
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (kind, length) = (number(0), number(4) as usize);
        let body = take(length).1;
        take(length.next_multiple_of(8) - length);
        parts.push(Part {
            layer,
            kind: Some(kind),
            body,
            offset: begin,
        });
        match (layer, kind) {
            ("libxl", 0) => break,
            ("libxl", 1) => {
                layer = "libxc";
                let (begin, body) = take(libxc);
                parts.push(Part {
                    layer,
                    kind: None,
                    body,
                    offset: begin,
                });
            }
            ("libxc", 0) => layer = "libxl",
            _ => {}
        }
    }
    assert_eq!(offset, stream.len(), "something follows the stream's end");
    parts
}

/// Whether two streams have the same parts; the offsets don't count.
pub fn same(what: &str, ours: &[Part<'_>], theirs: &[Part<'_>]) {
    for (at, (our, their)) in ours.iter().zip(theirs).enumerate() {
        let name = |part: &Part<'_>| match part.kind {
            Some(kind) => format!("{} record {kind:#x} at byte {}", part.layer, part.offset),
            None => format!("{} header at byte {}", part.layer, part.offset),
        };
        assert_eq!(
            (our.layer, our.kind),
            (their.layer, their.kind),
            "{what}: part {at}: {}",
            name(our)
        );
        assert_eq!(
            our.body.len(),
            their.body.len(),
            "{what}: length of part {at}: {}",
            name(our)
        );
        if let Some(byte) = our.body.iter().zip(their.body).position(|(our, their)| our != their) {
            panic!(
                "{what}: part {at}: {}: byte {byte} of its body is another one",
                name(our)
            );
        }
    }
    assert_eq!(ours.len(), theirs.len(), "{what}: parts");
}

/// The libxl records of one kind left out.
pub fn without_libxl<'a>(parts: Vec<Part<'a>>, kind: u32) -> Vec<Part<'a>> {
    parts
        .into_iter()
        .filter(|part| (part.layer, part.kind) != ("libxl", Some(kind)))
        .collect()
}
