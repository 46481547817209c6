//! An xend's envelope and image: whatever the pieces they come in, wherever they are cut, and whatever comes instead.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not seen as tests

use std::io::{self, Read};

use image::{
    ImageError, ImageSink, Item,
    legacy::{LegacyGuest, LegacyOptions},
};
use peer::xend::{
    Custody, Envelope, EnvelopeError, EnvelopeReader, Failure, ImageBytes, Keeper, Verdict, refusal, take_in,
};
use proptest::prelude::*;
use sxp::Limits;

const CONFIG: &[u8] = b"(domain (domid 3) (name vm1) (memory 256))";

fn limits() -> Limits {
    Limits {
        max_bytes: 1000,
        max_depth: 32,
        ..Limits::default()
    }
}

fn envelope(config: &[u8]) -> Vec<u8> {
    [b"LinuxGuestRecord", &(config.len() as i32).to_be_bytes()[..], config].concat()
}

/// Reads in pieces of these lengths, over and over; the envelope, and how many bytes it took.
fn read(bytes: &[u8], pieces: &[usize]) -> Result<(usize, Option<Envelope>), EnvelopeError> {
    let mut reader = EnvelopeReader::new(limits());
    let mut at = 0;
    for piece in pieces.iter().cycle() {
        let end = bytes.len().min(at + piece);
        let (used, envelope) = reader.feed(&bytes[at..end])?;
        at += used;
        if envelope.is_some() || at == bytes.len() {
            return Ok((at, envelope));
        }
    }
    unreachable!("there are pieces")
}

#[test]
fn the_example_of_the_specification() {
    let bytes = [&envelope(CONFIG)[..], b"image"].concat();
    let (used, envelope) = read(&bytes, &[1 << 20]).unwrap();
    let envelope = envelope.unwrap();
    assert_eq!((used, &envelope.text[..]), (20 + 42, CONFIG));
    assert_eq!(sxp::to_bytes(&envelope.config), CONFIG);
}

#[test]
fn what_is_no_envelope_is_refused_in_a_xends_words() {
    let wrong = |bytes: &[u8]| read(bytes, &[3]).unwrap_err().to_string();
    assert_eq!(
        wrong(b"XXXXXXXXXXXXXXXXXXXX"),
        "not a valid guest state file: found 'XXXXXXXXXXXXXXXX'"
    );
    for length in [0, -1, i32::MIN, 1001, i32::MAX] {
        let bytes = [b"LinuxGuestRecord", &i32::to_be_bytes(length)[..], b"(domain)"].concat();
        assert!(
            wrong(&bytes).contains(&format!("has {length} bytes, 1 to 1000")),
            "{length}"
        );
    }
    for config in [&b"(domain"[..], b")", b"hello", b"\x01", &b"(".repeat(100)] {
        assert!(
            wrong(&envelope(config)).contains("configuration can't be read"),
            "{config:?}"
        );
    }
    // As for xend, what follows the first value does not count.
    assert!(read(&envelope(b"(domain) )"), &[7]).unwrap().1.is_some());
    // What ended the request may have been left over.
    assert!(
        read(&[b"\r\n", &envelope(CONFIG)[..]].concat(), &[1])
            .unwrap()
            .1
            .is_some()
    );
    assert!(read(&[&b" ".repeat(40)[..], &envelope(CONFIG)].concat(), &[64]).is_err());
}

#[test]
fn cut_anywhere_it_is_no_envelope() {
    let whole = envelope(CONFIG);
    for length in 0..whole.len() {
        let mut reader = EnvelopeReader::new(limits());
        let (used, envelope) = reader.feed(&whole[..length]).unwrap();
        assert_eq!((used, envelope), (length, None));
        assert!(reader.wanted() > 0 && reader.wanted() <= whole.len() - length);
        let missing = match length {
            0..16 => "signature",
            16..20 => "length",
            _ => "config",
        };
        assert_eq!(reader.cut(), EnvelopeError::Cut(missing));
    }
}

proptest! {
    #[test]
    fn the_pieces_do_not_matter(pieces in prop::collection::vec(1..30_usize, 1..8), rest in prop::collection::vec(any::<u8>(), 0..40)) {
        let whole = envelope(CONFIG);
        let bytes = [&whole[..], &rest].concat();
        let (used, envelope) = read(&bytes, &pieces).unwrap();
        prop_assert_eq!(used, whole.len());
        prop_assert_eq!(&envelope.unwrap().text[..], CONFIG);
    }

    #[test]
    fn who_reads_what_is_wanted_never_reads_into_the_image(steps in prop::collection::vec(1..50_usize, 1..8)) {
        let whole = envelope(CONFIG);
        let mut reader = EnvelopeReader::new(limits());
        let mut at = 0;
        for step in steps.iter().cycle() {
            let end = at + reader.wanted().min(*step);
            prop_assert!(end <= whole.len());
            let (used, envelope) = reader.feed(&whole[at..end]).unwrap();
            prop_assert_eq!(used, end - at);
            at = end;
            if envelope.is_some() {
                break;
            }
        }
        prop_assert_eq!(at, whole.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), signed in any::<bool>(), length in -5..150_i32) {
        let bytes = if signed { [b"LinuxGuestRecord", &length.to_be_bytes()[..], &bytes].concat() } else { bytes };
        if let Ok((used, Some(envelope))) = read(&bytes, &[5]) {
            prop_assert!(used <= bytes.len() && envelope.text.len() <= 1000);
        }
    }

    #[test]
    fn a_refusal_is_what_a_sender_looks_for(text in any::<String>()) {
        // ^\(err\s\(type\s(.+)\)\s\(value\s'(.+)'\)\), in one recv(1024); and an S-expression all the same.
        let line = refusal(&text);
        prop_assert!(line.len() <= peer::xend::MAX_REFUSAL);
        let inner = line.strip_prefix(b"(err (type xen.xend.XendError.XendError) (value '").unwrap();
        let inner = inner.strip_suffix(b"'))\n").unwrap();
        prop_assert!(!inner.is_empty() && inner.iter().all(|byte| matches!(byte, b' '..=b'~') && !b"'\"\\".contains(byte)));
        prop_assert_eq!(sxp::read_all(&line, Limits::default()).unwrap().len(), 1);
    }
}

/// The smallest image of a 64-bit guest that says anything: two plain pages, one vcpu.
fn small_image() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend(5184_u32.to_le_bytes());
    bytes.extend(b"vcpu");
    bytes.extend(5168_u32.to_le_bytes());
    bytes.extend([0; 5168]);
    bytes.extend(b"extv\0\0\0\0");
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(2_i32.to_le_bytes());
    bytes.extend([0_u64, 1].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend([7; 8192]);
    bytes.extend((-2_i32).to_le_bytes());
    bytes.extend(0_i32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend((-9_i32).to_le_bytes());
    bytes.extend(0_i32.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([1; 5168 + 128 + 4096]);
    bytes
}

fn options() -> LegacyOptions {
    LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: 1 << 20,
        check_registers: false,
    }
}

/// Counts items; refuses the one with that number.
#[derive(Default)]
struct Count {
    items: usize,
    refuse: Option<usize>,
    finished: bool,
}

impl ImageSink for Count {
    fn put(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        if self.refuse == Some(self.items) {
            return Err(ImageError::Order("the disk is full".to_owned()));
        }
        self.items += 1;
        self.finished = matches!(item, Item::Finish);
        Ok(())
    }
}

/// Bytes that come one piece at a time, with a silence after each.
struct Slow<'a>(&'a [u8], usize, bool);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.2 = !self.2;
        if self.2 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = self.1.min(buffer.len());
        self.0
            .take(piece as u64)
            .read(buffer)
            .inspect(|count| self.0 = &self.0[*count..])
    }
}

fn patient<'a>() -> Box<peer::xend::Watch<'a>> {
    Box::new(|_, _| Ok(()))
}

#[test]
fn an_image_comes_in_whatever_the_pieces() {
    let image = small_image();
    let followed = [&image[..], b"x"].concat();
    for piece in [1, 7, 4096, 1 << 20] {
        let bytes = ImageBytes::new(Slow(&image, piece, false), Keeper::new(256 << 10), patient());
        let mut sink = Count::default();
        take_in(&bytes, options(), &mut sink).unwrap();
        assert!(sink.finished);
        assert_eq!(bytes.custody(), Custody::Sender);
        bytes.whole();
        assert_eq!(bytes.custody(), Custody::Here);
        assert!(bytes.end_of_stream().unwrap());
        let bytes = ImageBytes::new(Slow(&followed, piece, false), Keeper::new(8), patient());
        take_in(&bytes, options(), &mut Count::default()).unwrap();
        assert!(!bytes.end_of_stream().unwrap());
    }
}

#[test]
fn an_image_that_is_cut_anywhere_is_given_up() {
    let image = small_image();
    for length in 0..image.len() {
        let bytes = ImageBytes::new(&image[..length], Keeper::new(8), patient());
        let mut sink = Count::default();
        let ended = take_in(&bytes, options(), &mut sink).unwrap_err();
        assert_eq!(
            (ended.failure, ended.verdict),
            (Failure::Cut, Verdict::Discard),
            "{length}: {}",
            ended.why
        );
        assert!(!sink.finished);
    }
}

#[test]
fn what_is_no_image_is_refused_while_the_sender_must_have_more_and_kept_after_that() {
    let image = small_image();
    let at = image.len() - (5168 + 128 + 4096) - 4 - 4 - 4;
    let mut broken = image.clone();
    broken[at..at + 4].copy_from_slice(&(-99_i32).to_le_bytes());
    for (memory_kib, verdict) in [(256 << 10, Verdict::Refuse), (8, Verdict::Keep)] {
        let bytes = ImageBytes::new(Slow(&broken, 1000, false), Keeper::new(memory_kib), patient());
        let ended = take_in(&bytes, options(), &mut Count::default()).unwrap_err();
        assert_eq!(
            (ended.failure, ended.verdict),
            (Failure::OurSide, verdict),
            "{}",
            ended.why
        );
        assert!(ended.why.contains("chunk -99"), "{}", ended.why);
        // From the last item on, here the pages, nothing is missing.
        let mut rest = Vec::new();
        bytes.rest(&mut rest, u64::MAX).unwrap();
        let pages = at - 4 - 4 - 8;
        assert_eq!(rest, &broken[pages..]);
    }
}

#[test]
fn what_the_sink_refuses_is_in_the_rest() {
    let image = small_image();
    let bytes = ImageBytes::new(&image[..], Keeper::new(8), patient());
    // Start, info, static data, frames, pages.
    let mut sink = Count {
        refuse: Some(4),
        ..Count::default()
    };
    let ended = take_in(&bytes, options(), &mut sink).unwrap_err();
    assert_eq!(
        (ended.verdict, &ended.why[..]),
        (Verdict::Keep, "image: the disk is full")
    );
    let mut rest = Vec::new();
    let written = bytes.rest(&mut rest, u64::MAX).unwrap();
    assert_eq!(written, rest.len() as u64);
    let begin = 8 + 8 + 4 + 5184 + 8;
    assert_eq!(rest, &image[begin..]);
}

#[test]
fn the_watch_can_stop_it_and_is_told_who_owns_the_domain() {
    let image = small_image();
    for (memory_kib, failure, verdict) in [
        (256 << 10, Failure::OurSide, Verdict::Refuse),
        (8, Failure::OurSide, Verdict::Keep),
        (8, Failure::Silence, Verdict::Refuse),
    ] {
        let mut asked = 0;
        let watch = move |keeper: &Keeper, _silence| {
            assert_eq!(keeper.custody() == Custody::Sender, memory_kib > 8);
            asked += 1;
            if asked > 3 {
                Err((failure, "enough".to_owned()))
            } else {
                Ok(())
            }
        };
        let bytes = ImageBytes::new(Slow(&image, 100, false), Keeper::new(memory_kib), Box::new(watch));
        let ended = take_in(&bytes, options(), &mut Count::default()).unwrap_err();
        assert_eq!(
            (ended.failure, ended.verdict, &ended.why[..]),
            (failure, verdict, "enough")
        );
    }
}

/// A connection that the kernel has given up: it says so once, and then that the stream is at its end.
struct GivenUp<'a>(&'a [u8], bool);

impl Read for GivenUp<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !self.1 {
            self.1 = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.read(buffer)
    }
}

#[test]
fn a_connection_that_the_kernel_gives_up_is_no_silence() {
    let image = small_image();
    let bytes = ImageBytes::new(GivenUp(&image[..6000], false), Keeper::new(8), patient());
    let ended = take_in(&bytes, options(), &mut Count::default()).unwrap_err();
    assert_eq!(ended.failure, Failure::Cut);
    assert!(
        ended.why.contains("broke") && ended.why.contains("timed out"),
        "{}",
        ended.why
    );
}

#[test]
fn the_prologue_is_whole_with_the_frames() {
    let image = small_image();
    let prologue = 8 + 8 + 4 + 5184 + 8;
    let seen = std::cell::RefCell::new(Vec::new());
    let watch = |keeper: &Keeper, _silence| {
        seen.borrow_mut().push((keeper.taken(), keeper.has_begun()));
        Ok(())
    };
    let bytes = ImageBytes::new(Slow(&image, 1000, false), Keeper::new(8), Box::new(watch));
    take_in(&bytes, options(), &mut Count::default()).unwrap();
    drop(bytes);
    let seen = seen.into_inner();
    assert!(seen.iter().any(|(_, begun)| *begun));
    assert!(
        seen.iter().all(|(taken, begun)| *begun == (*taken >= prologue)),
        "{seen:?}"
    );
}

/// The list of a guest's unmapped pages comes at once, and may be longer than anything else between two items.
#[test]
fn a_list_of_unmapped_pages_is_as_long_as_the_guest_has_pages() {
    const PAGES: u64 = 5 << 20;
    let mut image = small_image();
    let at = image.len() - (5168 + 128 + 4096) - 4;
    assert_eq!(image[at..at + 4], [0; 4]);
    let frames = PAGES.div_ceil(512);
    image.splice(at..at + 4, {
        let list = (2..PAGES).flat_map(u64::to_le_bytes);
        ((PAGES - 2) as u32).to_le_bytes().into_iter().chain(list)
    });
    image[..8].copy_from_slice(&PAGES.to_le_bytes());
    let list = 8 + 8 + 4 + 5184;
    image.splice(list..list + 8, (1..=frames).flat_map(u64::to_le_bytes));
    let options = LegacyOptions {
        max_pages: PAGES,
        ..options()
    };
    let bytes = ImageBytes::new(&image[..], Keeper::new(8), patient()).with_pages(PAGES);
    let mut sink = Count::default();
    take_in(&bytes, options, &mut sink).unwrap();
    assert!(sink.finished);
    // What is refused for its length has no hole either.
    let bytes = ImageBytes::new(&image[..], Keeper::new(8), patient());
    let ended = take_in(&bytes, options, &mut Count::default()).unwrap_err();
    assert_eq!(ended.verdict, Verdict::Keep);
    let mut rest = Vec::new();
    bytes.rest(&mut rest, u64::MAX).unwrap();
    assert!(rest.len() > 40 << 20 && image.ends_with(&rest));
}

#[test]
fn endless_chunks_that_mean_nothing_are_cut_off() {
    let mut image = small_image();
    image.truncate(8 + 8 + 4 + 5184 + 8);
    let endless = io::Read::chain(&image[..], Endless((-9_i32).to_le_bytes()));
    let bytes = ImageBytes::new(endless, Keeper::new(1 << 30), patient());
    let ended = take_in(&bytes, options(), &mut Count::default()).unwrap_err();
    assert!(ended.why.contains("chunks that are no pages"), "{}", ended.why);
}

struct Endless([u8; 4]);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let whole = buffer.len() / 4 * 4;
        buffer[..whole]
            .chunks_mut(4)
            .for_each(|place| place.copy_from_slice(&self.0));
        Ok(whole)
    }
}
