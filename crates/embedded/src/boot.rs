//! How a guest begins: its program and its command line.

use std::{fs::File, io::Read};

use domain::DomainConfig;
use image::PAGE_SIZE;
use toolstack::ToolstackError;

use crate::{bus::RAM_BASE, cpu::Cpu, memory::GuestMemory};

/// The guest that ships with relocd; its source is `guest/guest.S`, and `guest/build` rebuilds it.
const GUEST: &[u8] = include_bytes!("../guest/guest.bin");

/// Bytes of a command line at most: with its header it has one page.
const MAX_EXTRA: usize = PAGE_SIZE - 24;

/// Loads the program at the beginning of RAM and the boot information into its last page (8 bytes `RELOCD01`, 8 bytes size of RAM, 8 bytes length
/// of the command line, the command line); gives the processor that begins there, with the boot information's address in a1.
pub(crate) fn load(memory: &GuestMemory, config: &DomainConfig) -> Result<Cpu, ToolstackError> {
    let last_page = memory.size() - PAGE_SIZE as u64;
    let mut program = Vec::new();
    match config.kernel.as_deref() {
        None | Some("guest") => program.extend_from_slice(GUEST),
        Some(path) => {
            let reading = ToolstackError::io(format!("reading the kernel {path}"));
            File::open(path)
                .and_then(|file| file.take(last_page + 1).read_to_end(&mut program))
                .map_err(reading)?;
        }
    }
    let extra = config.extra.as_deref().unwrap_or_default().as_bytes();
    if extra.len() > MAX_EXTRA {
        return Err(ToolstackError::Config(format!(
            "extra: {} bytes, at most {MAX_EXTRA}",
            extra.len()
        )));
    }
    let mut boot = b"RELOCD01".to_vec();
    boot.extend(memory.size().to_le_bytes());
    boot.extend((extra.len() as u64).to_le_bytes());
    boot.extend(extra);
    if program.len() as u64 > last_page || !memory.write(0, &program) || !memory.write(last_page, &boot) {
        return Err(ToolstackError::Config(format!(
            "the kernel has {} bytes: more than the domain's memory",
            program.len()
        )));
    }
    let mut cpu = Cpu::new(RAM_BASE);
    cpu.x[11] = RAM_BASE + last_page;
    Ok(cpu)
}
