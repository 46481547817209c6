//! Memory of the other interpreter that begins where a machine's RAM does: there it begins at 0.

use ckb_vm::{Bytes, Error, FlatMemory, Memory};
use embedded::RAM_BASE;

pub struct Biased(FlatMemory<u64>);

fn offset(address: u64) -> Result<u64, Error> {
    address.checked_sub(RAM_BASE).ok_or(Error::MemOutOfBound)
}

impl Memory for Biased {
    type REG = u64;

    fn new() -> Self {
        Biased(FlatMemory::new())
    }

    fn new_with_memory(memory_size: usize) -> Self {
        Biased(FlatMemory::new_with_memory(memory_size))
    }

    fn init_pages(&mut self, at: u64, size: u64, flags: u8, source: Option<Bytes>, skip: u64) -> Result<(), Error> {
        self.0.init_pages(offset(at)?, size, flags, source, skip)
    }

    fn fetch_flag(&mut self, page: u64) -> Result<u8, Error> {
        self.0.fetch_flag(page)
    }

    fn set_flag(&mut self, page: u64, flag: u8) -> Result<(), Error> {
        self.0.set_flag(page, flag)
    }

    fn clear_flag(&mut self, page: u64, flag: u8) -> Result<(), Error> {
        self.0.clear_flag(page, flag)
    }

    /// The address behind the last byte: the decoder compares addresses with it.
    fn memory_size(&self) -> usize {
        RAM_BASE as usize + self.0.memory_size()
    }

    fn store_byte(&mut self, at: u64, size: u64, value: u8) -> Result<(), Error> {
        self.0.store_byte(offset(at)?, size, value)
    }

    fn store_bytes(&mut self, at: u64, value: &[u8]) -> Result<(), Error> {
        self.0.store_bytes(offset(at)?, value)
    }

    fn load_bytes(&mut self, at: u64, size: u64) -> Result<Bytes, Error> {
        self.0.load_bytes(offset(at)?, size)
    }

    fn execute_load16(&mut self, at: u64) -> Result<u16, Error> {
        self.0.execute_load16(offset(at)?)
    }

    fn execute_load32(&mut self, at: u64) -> Result<u32, Error> {
        self.0.execute_load32(offset(at)?)
    }

    fn load8(&mut self, at: &u64) -> Result<u64, Error> {
        self.0.load8(&offset(*at)?)
    }

    fn load16(&mut self, at: &u64) -> Result<u64, Error> {
        self.0.load16(&offset(*at)?)
    }

    fn load32(&mut self, at: &u64) -> Result<u64, Error> {
        self.0.load32(&offset(*at)?)
    }

    fn load64(&mut self, at: &u64) -> Result<u64, Error> {
        self.0.load64(&offset(*at)?)
    }

    fn store8(&mut self, at: &u64, value: &u64) -> Result<(), Error> {
        self.0.store8(&offset(*at)?, value)
    }

    fn store16(&mut self, at: &u64, value: &u64) -> Result<(), Error> {
        self.0.store16(&offset(*at)?, value)
    }

    fn store32(&mut self, at: &u64, value: &u64) -> Result<(), Error> {
        self.0.store32(&offset(*at)?, value)
    }

    fn store64(&mut self, at: &u64, value: &u64) -> Result<(), Error> {
        self.0.store64(&offset(*at)?, value)
    }

    fn lr(&self) -> &u64 {
        self.0.lr()
    }

    fn set_lr(&mut self, value: &u64) {
        self.0.set_lr(value);
    }
}
