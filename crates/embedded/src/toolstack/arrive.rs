//! A machine is made of an image.

use image::{DomainHeader, ImageError, ImageSource, Item, PAGE_SIZE, PageBatch, PageContent, PageType};
use toolstack::{Arrival, Arrived, Result, ToolstackError};

use super::{check_config, decide::ArrivedMachine, failed, load, machines::Machines};
use crate::{memory::GuestMemory, state::Gather};

pub(super) fn arrive(
    machines: &Machines,
    arrival: &Arrival<'_>,
    image: &mut dyn ImageSource,
) -> Result<Box<dyn Arrived>> {
    check_config(arrival.config)?;
    let memory = GuestMemory::new(arrival.config.memory_kib * 1024)
        .map_err(|error| ToolstackError::Failed(error.to_string()))?;
    // Only once the image begins is the source's own domain known to be on its way: it may be on this very host.
    start(image)?;
    // The machine process goes away with its line, and with it whatever has arrived.
    let mut built = machines.build(arrival.config, Some(arrival.relocation), &memory)?;
    let state = receive(&memory, image)?
        .finish()
        .map_err(|error| ToolstackError::Failed(error.to_string()))?;
    load(&mut built.line, &state).map_err(|error| failed(built.id, &error))?;
    Ok(Box::new(ArrivedMachine(machines.waiting(built.id, built.line))))
}

/// The beginning of the image.
fn start(image: &mut dyn ImageSource) -> std::result::Result<(), ImageError> {
    match image.next()? {
        Item::Start(header) if header.guest == DomainHeader::EMBEDDED => Ok(()),
        Item::Start(header) => Err(ImageError::Toolstack(format!(
            "the image is of a guest of type {:#x}: the embedded toolstack can't run it",
            header.guest
        ))),
        _ => Err(ImageError::Order(
            "an image that does not begin with its start".to_owned(),
        )),
    }
}

fn receive(memory: &GuestMemory, image: &mut dyn ImageSource) -> std::result::Result<Gather, ImageError> {
    let mut gather = Gather::default();
    loop {
        match image.next()? {
            Item::Start(_) => return Err(ImageError::Order("a second start".to_owned())),
            Item::Record { kind, body } => {
                gather
                    .record(kind, body)
                    .map_err(|error| ImageError::Toolstack(error.to_string()))?;
            }
            Item::Pages(batch) => pages(memory, &batch)?,
            Item::Libxl { kind, .. } => {
                return Err(ImageError::Toolstack(format!(
                    "a software machine has no libxl record of type {kind:#x}"
                )));
            }
            Item::End => {}
            Item::Finish => return Ok(gather),
        }
    }
}

/// Copies a batch into RAM: neighbours with data in one go.
fn pages(memory: &GuestMemory, batch: &PageBatch<'_>) -> std::result::Result<(), ImageError> {
    let mut data = batch.data;
    let mut entries = batch.entries;
    while let Some(first) = entries.first() {
        if first.kind != PageType::NORMAL || first.pfn >= memory.pages() as u64 {
            return Err(ImageError::Toolstack(format!(
                "page {:#x} of type {:#x} in a domain of {:#x} pages",
                first.pfn,
                first.kind.nibble(),
                memory.pages()
            )));
        }
        if first.content != PageContent::Data {
            memory.clear_page(first.pfn as usize);
            entries = entries.get(1..).unwrap_or_default();
            continue;
        }
        let neighbours = entries.iter().zip(first.pfn..);
        let run = neighbours
            .take_while(|(entry, pfn)| {
                entry.pfn == *pfn && entry.kind == PageType::NORMAL && entry.content == PageContent::Data
            })
            .count();
        let Some((now, later)) = data.split_at_checked(run * PAGE_SIZE) else {
            return Err(ImageError::Order("a batch with less data than pages".to_owned()));
        };
        if !memory.write(first.pfn * PAGE_SIZE as u64, now) {
            return Err(ImageError::Toolstack(format!(
                "page {:#x} is beyond the domain's memory",
                first.pfn
            )));
        }
        data = later;
        entries = entries.get(run..).unwrap_or_default();
    }
    Ok(())
}
