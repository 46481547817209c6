//! The guest: contents of its pages, registers, shared info.

use super::{Kind, Legacy, number};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// The page of the start info.
const START_INFO: u64 = 1;
/// The page of the GDT.
const GDT: u64 = 2;
/// The first page table, which is of the top level.
pub const TABLES: u64 = 3;
/// The top page table of user mode, on 64 bits.
const USER_TABLE: u64 = 7;
/// The first page of the p2m.
const P2M: u64 = 8;

impl Legacy {
    /// The pages of the p2m.
    pub fn frames(&self) -> Vec<u64> {
        let count = (self.pages * self.width() as u64).div_ceil(PAGE as u64);
        // Real ones are at the end of memory, and descend.
        (0..count).rev().map(|at| P2M + at).collect()
    }

    /// The content of a page as a round sends it, appended.
    pub fn content(&self, pfn: u64, nibble: u8, round: u32, out: &mut Vec<u8>) {
        let mix = (pfn << 24 ^ u64::from(round) << 56 ^ u64::from(self.seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for slot in 0..PAGE as u64 / 8 {
            let value = match nibble & 7 {
                0 => mix.rotate_left(slot as u32).wrapping_add(slot),
                // Some entries are present, those of the hypervisor are zero.
                // A PAE guest's top table has four slots, and nothing behind them.
                3 if self.kind == Kind::Pae && slot > 3 => 0,
                _ if slot % 7 == 3 && !(4..272).contains(&slot) => ((mix ^ slot) % (self.pages - 2)) << 12 | 0x67,
                _ => 0,
            };
            out.extend(value.to_le_bytes());
        }
    }

    /// The registers of a vcpu.
    pub fn context(&self, vcpu: u32) -> Vec<u8> {
        let fill = |at: usize| (at as u8).wrapping_mul(13) ^ self.seed ^ vcpu as u8;
        let top = TABLES;
        match self.kind {
            Kind::Pv64 => {
                let mut context: Vec<u8> = (0..5168).map(fill).collect();
                set(&mut context, 512, number(0x35, 8));
                if vcpu == 0 {
                    set(&mut context, 616, number(START_INFO, 8));
                }
                set(&mut context, 4832, number(GDT, 8));
                set(&mut context, 4960, number(16, 8));
                set(&mut context, 4992, number(USER_TABLE << 12 | u64::from(vcpu == 0), 8));
                set(&mut context, 5008, number(top << 12, 8));
                context
            }
            _ => {
                let mut context: Vec<u8> = (0..2800).map(fill).collect();
                set(&mut context, 512, number(0x35, 4));
                if vcpu == 0 {
                    set(&mut context, 524, number(START_INFO, 4));
                }
                set(&mut context, 2640, number(GDT, 4));
                set(&mut context, 2704, number(16, 4));
                set(&mut context, 2728, number(top << 12, 4));
                context
            }
        }
    }

    /// The extended registers of a vcpu: 32 bytes that count, and zeros.
    pub fn extended_context(&self, vcpu: u32) -> Vec<u8> {
        let mut context = vec![0; 128];
        set(&mut context, 0, number(vcpu.into(), 4));
        set(&mut context, 4, number(32, 4));
        set(&mut context, 8, number(0xffff_ffff_8100_0000 | u64::from(self.seed), 8));
        context
    }

    /// The xsave area of a vcpu, without its prefix: xcr0, xcr0 of all time, the area.
    pub fn xsave_area(&self, vcpu: u32, length: usize) -> Vec<u8> {
        let mut area: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(29) ^ vcpu as u8).collect();
        set(&mut area, 0, number(3, 8));
        set(&mut area, 8, number(7, 8));
        area
    }

    /// The shared info.
    pub fn shared_info(&self) -> Vec<u8> {
        let mut page: Vec<u8> = (0..PAGE).map(|at| (at as u8).wrapping_mul(31) ^ self.seed).collect();
        // The list of the p2m's pages, as savers from 3.1 on leave it.
        if self.kind == Kind::Pv64 {
            set(&mut page, 3096, number(0, 8));
        } else {
            set(&mut page, 2320, number(0, 4));
        }
        page
    }

    /// The hypervisor's context of an HVM guest: a header, one record, the end.
    pub fn hvm_context(&self) -> Vec<u8> {
        let record = |kind: u64, body: &[u8]| {
            [
                number(kind, 2),
                number(0, 2),
                number(body.len() as u64, 4),
                body.to_vec(),
            ]
            .concat()
        };
        let header = [
            number(0x5438_1286, 4),
            number(1, 4),
            number(0, 8),
            number(0x6f2, 4),
            number(0, 4),
        ]
        .concat();
        [record(1, &header), record(2, &[self.seed; 333]), record(0, &[])].concat()
    }
}

fn set(bytes: &mut [u8], at: usize, value: Vec<u8>) {
    bytes[at..at + value.len()].copy_from_slice(&value);
}
