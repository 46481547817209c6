//! Frames of any bytes. Checksums can't be guessed, so the input is also taken as the frames' contents, and sealed here: kind and flags, u16 length, payload, and so on.
#![no_main]

use std::io::IoSlice;

use image::{ImageError, ImageSink, ImageSource, Item};
use libfuzzer_sys::fuzz_target;
use peer::native::{
    FrameSink, FrameSource, Link,
    frame::{Digest, Header, Kind},
};

struct Memory(Vec<u8>);

impl Link for Memory {
    fn write(&mut self, buffers: &mut [IoSlice<'_>]) -> Result<(), ImageError> {
        buffers.iter().for_each(|buffer| self.0.extend_from_slice(buffer));
        Ok(())
    }

    fn check(&mut self) -> Result<(), ImageError> {
        Ok(())
    }
}

/// Copies what can be read; whether that was the whole image, and the bytes written for it.
fn copy(bytes: &[u8]) -> (bool, Vec<u8>) {
    let mut source = FrameSource::new(bytes);
    let mut sink = FrameSink::new(Memory(Vec::new()));
    while let Ok(item) = source.next() {
        sink.put(item).expect("the sink takes whatever the source gives");
        if matches!(item, Item::Finish) {
            return (true, sink.into_link().0);
        }
    }
    (false, sink.into_link().0)
}

/// Frames with right numbers and checksums around the contents that the input gives.
fn sealed(mut input: &[u8]) -> Vec<u8> {
    let kinds = [Kind::Start, Kind::Record, Kind::Pages, Kind::End, Kind::Libxl, Kind::Finish, Kind::Abort];
    let mut bytes = Vec::new();
    let mut digest = Digest::default();
    let mut sequence = 0;
    while let Some(([what, low, high], rest)) = input.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (mut payload, rest) = rest.split_at(length);
        let kind = kinds[usize::from(what & 0x7f) % kinds.len()];
        let right = digest.bytes();
        if kind == Kind::Finish && payload.is_empty() {
            payload = &right;
        }
        let header = Header::seal(kind, what & 0x80 != 0, sequence, [payload, &[]]);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(payload);
        digest.frame(&header);
        sequence += 1;
        input = rest;
    }
    bytes
}

fuzz_target!(|input: &[u8]| {
    let _ = copy(input);
    let (complete, written) = copy(&sealed(input));
    if complete {
        assert_eq!(copy(&written), (true, written.clone()));
    }
});
