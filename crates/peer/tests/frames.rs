//! The image on the wire: what comes back, and that nothing lost or changed goes unseen.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests

#[path = "../../image/tests/support/mod.rs"]
mod support;

use std::io::IoSlice;

use image::{ImageError, ImageSource};
use peer::native::{
    FrameSink, FrameSource, Link,
    frame::{Digest, HEADER, Header, Kind, MAX_PAYLOAD},
};
use proptest::prelude::*;
use support::{Owned, images, put_all, small_image, take_all};

/// A connection that keeps what is written.
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

fn sent(items: &[Owned]) -> Vec<u8> {
    let mut sink = FrameSink::new(Memory(Vec::new()));
    put_all(&mut sink, items).unwrap();
    let length = sink.written();
    let bytes = sink.into_link().0;
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn received(bytes: &[u8]) -> Result<Vec<Owned>, ImageError> {
    take_all(&mut FrameSource::new(bytes))
}

/// The frames, each with its header.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let (frame, next) = rest.split_at(HEADER + length);
        frames.push(frame.to_vec());
        rest = next;
    }
    frames
}

/// Gives frames right numbers and checksums, as a program that is wrong about the contents would. The digest at the end stays.
fn resealed(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sequence, frame) in frames.iter().enumerate() {
        let mut first: [u8; HEADER] = frame[..HEADER].try_into().unwrap();
        first[8..16].copy_from_slice(&(sequence as u64).to_le_bytes());
        let old = Header::parse(&first, sequence as u64, 0).unwrap();
        let payload = &frame[HEADER..];
        let header = Header::seal(old.kind, old.more, sequence as u64, [payload, &[]]);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

#[test]
fn an_image_cut_off_anywhere_is_an_error() {
    let bytes = sent(&small_image());
    for length in 0..bytes.len() {
        let error = received(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ImageError::Io { .. }), "at {length}: {error}");
    }
    assert_eq!(received(&bytes).unwrap(), small_image());
}

#[test]
fn every_flipped_bit_is_seen() {
    let mut bytes = sent(&small_image());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(received(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_frame_lost_doubled_or_swapped_is_seen() {
    let bytes = sent(&small_image());
    let whole = frames(&bytes);
    assert_eq!(resealed(&whole), bytes);
    for at in 0..whole.len() - 1 {
        let mut lost = whole.clone();
        lost.remove(at);
        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        let mut swapped = whole.clone();
        swapped.swap(at, at + 1);
        for wrong in [lost, doubled, swapped] {
            assert!(received(&wrong.concat()).is_err(), "frame {at}");
            // Even if every frame by itself is sound.
            assert!(received(&resealed(&wrong)).is_err(), "frame {at}, sealed again");
        }
    }
}

#[test]
fn what_follows_the_image_is_left_alone() {
    let mut bytes = sent(&small_image());
    let length = bytes.len() as u64;
    bytes.extend_from_slice(b"(commit)\n");
    let mut rest = &bytes[..];
    let mut source = FrameSource::new(&mut rest);
    take_all(&mut source).unwrap();
    assert_eq!(source.read_bytes(), length);
    assert_eq!(rest, b"(commit)\n");
}

#[test]
fn a_record_longer_than_a_frame_comes_back() {
    let mut items = small_image();
    for length in [MAX_PAYLOAD - 5, MAX_PAYLOAD - 4, MAX_PAYLOAD - 3, 2 * MAX_PAYLOAD] {
        items[4] = Owned::Record(0x09, (0..length).map(|at| at as u8).collect());
        items[6] = Owned::Libxl(3, vec![7; length]);
        assert!(received(&sent(&items)).unwrap() == items, "{length} bytes");
    }
}

#[test]
fn the_sources_reason_arrives() {
    let mut sink = FrameSink::new(Memory(Vec::new()));
    put_all(&mut sink, &small_image()[..2]).unwrap();
    sink.abort("no more memory");
    let error = received(&sink.into_link().0).unwrap_err();
    assert!(
        matches!(&error, ImageError::Peer(reason) if reason.contains("no more memory")),
        "{error}"
    );
}

/// Frames of any content, numbered and sealed: what only a hostile peer sends.
fn sealed_frames() -> impl Strategy<Value = Vec<u8>> {
    let kinds = [
        Kind::Start,
        Kind::Record,
        Kind::Pages,
        Kind::End,
        Kind::Libxl,
        Kind::Finish,
        Kind::Abort,
    ];
    let kind = prop::sample::select(kinds.to_vec());
    let frame = (kind, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(frame, 0..8).prop_map(|frames| {
        // A sound beginning, so that pages may follow.
        let before = &small_image()[..3];
        let mut bytes = sent(before);
        for (at, (kind, more, payload)) in frames.into_iter().enumerate() {
            let header = Header::seal(kind, more, (before.len() + at) as u64, [&payload, &[]]);
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(&payload);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_image_comes_back(items in images()) {
        prop_assert_eq!(received(&sent(&items)).unwrap(), items);
    }

    #[test]
    fn a_cut_is_an_error(items in images(), cut in any::<prop::sample::Index>()) {
        let bytes = sent(&items);
        prop_assert!(received(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_changed_byte_is_seen(items in images(), at in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let mut bytes = sent(&items);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(received(&bytes).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(received(&bytes).is_err());
    }

    #[test]
    fn random_contents_of_sound_frames_never_panic(bytes in sealed_frames()) {
        // The digest at the end can't be met by chance.
        prop_assert!(received(&bytes).is_err());
    }
}

#[test]
fn the_digest_is_of_the_frames_in_their_order() {
    let header = |sequence| Header::seal(Kind::End, false, sequence, [&[], &[]]);
    let digest = |headers: &[Header]| {
        let mut digest = Digest::default();
        headers.iter().for_each(|header| digest.frame(header));
        digest.bytes()
    };
    assert_ne!(digest(&[header(0), header(1)]), digest(&[header(1), header(0)]));
    assert_ne!(digest(&[header(0)]), digest(&[header(0), header(0)]));
}

#[test]
fn after_the_end_nothing_more_comes() {
    let bytes = sent(&small_image());
    let twice = [&bytes[..], &bytes[..]].concat();
    let mut source = FrameSource::new(&twice[..]);
    take_all(&mut source).unwrap();
    assert!(source.next().is_err());
}
