//! What may stand between the batches of pages: chunks with a negative number.

use std::io::Read;

use super::input::{Input, Word};
use crate::ImageError;

/// Pages in a batch at most.
pub(super) const MAX_BATCH: usize = 1024;

/// Vcpus that an image can have at most.
const MAX_VCPU: i32 = 4095;

/// Bytes of a TOOLSTACK chunk at most.
const MAX_TOOLSTACK: u32 = 1 << 20;

/// A chunk of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The body ends.
    End,
    /// So many pages follow: their entries, then their data.
    Batch(usize),
    /// Whatever follows repeats what has been sent, for comparison.
    Verify,
    /// The vcpus that are online, ascending.
    Vcpus(Vec<u32>),
    /// An HVM parameter: index and value.
    Parameter(u64, u64),
    /// The time stamp counter: the body of an X86_TSC_INFO record.
    Tsc([u8; 24]),
    /// libxl's own data.
    Toolstack(Vec<u8>),
    /// Something that has no counterpart, and needs none.
    Nothing,
}

/// Reads the next chunk, but for the contents of a batch.
///
/// # Errors
/// For a chunk that is not known, or that can't be converted without loss.
pub(super) fn read<R: Read>(input: &mut Input<R>, word: Word) -> Result<Chunk, ImageError> {
    let id = i32::from_le_bytes(input.array("a chunk's number")?);
    Ok(match id {
        0 => Chunk::End,
        1.. => {
            let pages = id as usize;
            if pages > MAX_BATCH {
                return Err(input.wrong(format!("a batch of {pages} pages, more than {MAX_BATCH}")));
            }
            Chunk::Batch(pages)
        }
        -1 => Chunk::Verify,
        -2 => Chunk::Vcpus(vcpus(input)?),
        -5 => tmem(input)?,
        -6 => match input.u32("TMEM_EXTRA")? {
            u32::MAX => Chunk::Nothing,
            _ => return Err(input.wrong("chunk TMEM_EXTRA with pages: they can't be taken over")),
        },
        -7 => Chunk::Tsc(tsc(input)?),
        -9 => Chunk::Nothing,
        -12 | -13 => return Err(input.wrong("a compressed stream (Remus), which is not for a relocation")),
        -18 => {
            let length = input.u32("TOOLSTACK")?;
            if length > MAX_TOOLSTACK {
                return Err(input.wrong(format!(
                    "a TOOLSTACK chunk of {length} bytes, more than {MAX_TOOLSTACK}"
                )));
            }
            let mut bytes = Vec::new();
            input.append(length as usize, &mut bytes, "TOOLSTACK")?;
            Chunk::Toolstack(bytes)
        }
        -21 => {
            // HVM_X87_FIP_WIDTH: a hint that a later Xen finds out by itself.
            input.skip(12, "HVM_X87_FIP_WIDTH")?;
            Chunk::Nothing
        }
        _ => match parameter(id) {
            Some((index, name)) => {
                input.skip(4, name)?;
                Chunk::Parameter(index, input.u64(name)?)
            }
            None => {
                let at = word.bytes();
                return Err(input.wrong(format!(
                    "chunk {id}, which no version of Xen has sent (words of {at} bytes)"
                )));
            }
        },
    })
}

/// The HVM parameter that a chunk carries, and the chunk's name.
fn parameter(id: i32) -> Option<(u64, &'static str)> {
    Some(match id {
        -3 => (12, "HVM_IDENT_PT"),
        -4 => (15, "HVM_VM86_TSS"),
        -8 => (17, "HVM_CONSOLE_PFN"),
        -10 => (19, "HVM_ACPI_IOPORTS_LOCATION"),
        -11 => (9, "HVM_VIRIDIAN"),
        -14 => (34, "HVM_GENERATION_ID_ADDR"),
        -15 => (27, "HVM_PAGING_RING_PFN"),
        -16 => (28, "HVM_ACCESS_RING_PFN"),
        -17 => (29, "HVM_SHARING_RING_PFN"),
        -19 => (32, "HVM_IOREQ_SERVER_PFN"),
        -20 => (33, "HVM_NR_IOREQ_SERVER_PAGES"),
        _ => return None,
    })
}

fn vcpus<R: Read>(input: &mut Input<R>) -> Result<Vec<u32>, ImageError> {
    const WHAT: &str = "VCPU_INFO";
    let last = i32::from_le_bytes(input.array(WHAT)?);
    if !(0..=MAX_VCPU).contains(&last) {
        return Err(input.wrong(format!("vcpu {last} as the last one")));
    }
    let mut online = Vec::new();
    // Before 4.2 it was always one word, and the last vcpu below 64: the same.
    for word in 0..=last as u32 / 64 {
        let bits = input.u64(WHAT)?;
        online.extend((0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit| word * 64 + bit));
    }
    if online.first() != Some(&0) {
        return Err(input.wrong("an image without vcpu 0"));
    }
    if online.last().is_some_and(|id| *id > last as u32) {
        return Err(input.wrong(format!("a vcpu beyond the last one, which is {last}")));
    }
    Ok(online)
}

/// From mode, nsec, khz, incarnation (20 bytes) to mode, khz, nsec, incarnation, zero.
fn tsc<R: Read>(input: &mut Input<R>) -> Result<[u8; 24], ImageError> {
    let old: [u8; 20] = input.array("TSC_INFO")?;
    let mut new = [0; 24];
    new[..4].copy_from_slice(&old[..4]);
    new[4..8].copy_from_slice(&old[12..16]);
    new[8..16].copy_from_slice(&old[4..12]);
    new[16..20].copy_from_slice(&old[16..]);
    Ok(new)
}

/// Pools without pages are nothing that a guest would miss; pages are.
fn tmem<R: Read>(input: &mut Input<R>) -> Result<Chunk, ImageError> {
    const WHAT: &str = "TMEM";
    input.skip(7 * 4, WHAT)?;
    // A pool's number is below the number of pools, and that below 32 in every Xen that had tmem.
    for _ in 0..=64 {
        if input.u32(WHAT)? == u32::MAX {
            return Ok(Chunk::Nothing);
        }
        input.skip(4, WHAT)?;
        let pages = input.u32(WHAT)?;
        if pages != 0 {
            return Err(input.wrong(format!("chunk TMEM with {pages} pages: they can't be taken over")));
        }
        input.skip(16, WHAT)?;
    }
    Err(input.wrong("chunk TMEM with more pools than there can be"))
}
