//! Fields of RISC-V instructions (unprivileged specification, RV64I base formats).

/// An instruction word; its fields on demand.
#[derive(Clone, Copy)]
pub(crate) struct Instruction(pub(crate) u32);

impl Instruction {
    #[inline(always)]
    pub(crate) fn opcode(self) -> u32 {
        self.0 & 0x7f
    }

    #[inline(always)]
    pub(crate) fn rd(self) -> usize {
        (self.0 >> 7 & 31) as usize
    }

    #[inline(always)]
    pub(crate) fn funct3(self) -> u32 {
        self.0 >> 12 & 7
    }

    #[inline(always)]
    pub(crate) fn rs1(self) -> usize {
        (self.0 >> 15 & 31) as usize
    }

    #[inline(always)]
    pub(crate) fn rs2(self) -> usize {
        (self.0 >> 20 & 31) as usize
    }

    #[inline(always)]
    pub(crate) fn funct7(self) -> u32 {
        self.0 >> 25
    }

    /// The immediate of loads, register-immediate operations and JALR.
    #[inline(always)]
    pub(crate) fn i(self) -> u64 {
        (self.0 as i32 >> 20) as u64
    }

    /// The immediate of stores.
    #[inline(always)]
    pub(crate) fn s(self) -> u64 {
        ((self.0 as i32 >> 25 << 5) as u32 | (self.0 >> 7 & 31)) as i32 as u64
    }

    /// The offset of branches.
    #[inline(always)]
    pub(crate) fn b(self) -> u64 {
        let sign = (self.0 as i32 >> 31 << 12) as u32;
        (sign | (self.0 << 4 & 0x800) | (self.0 >> 20 & 0x7e0) | (self.0 >> 7 & 0x1e)) as i32 as u64
    }

    /// The upper immediate.
    #[inline(always)]
    pub(crate) fn u(self) -> u64 {
        (self.0 & 0xffff_f000) as i32 as u64
    }

    /// The offset of JAL.
    #[inline(always)]
    pub(crate) fn j(self) -> u64 {
        let sign = (self.0 as i32 >> 31 << 20) as u32;
        (sign | (self.0 & 0xf_f000) | (self.0 >> 9 & 0x800) | (self.0 >> 20 & 0x7fe)) as i32 as u64
    }

    /// The number of a control and status register.
    #[inline(always)]
    pub(crate) fn csr(self) -> u32 {
        self.0 >> 20
    }
}
