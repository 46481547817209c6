//! What instructions compute: integers of 64 and 32 bits.

/// Integer operations of 64 bits; `upper`: the bits above the shift amount, of which one makes a right shift arithmetic.
#[inline(always)]
pub(crate) fn operate(funct3: u32, a: u64, b: u64, upper: u32, shift_bits: u32) -> Option<u64> {
    let shift = b as u32 & ((1 << shift_bits) - 1);
    Some(match funct3 {
        0 => a.wrapping_add(b),
        1 if upper == 0 => a << shift,
        2 => u64::from((a as i64) < b as i64),
        3 => u64::from(a < b),
        4 => a ^ b,
        5 if upper == 0 => a >> shift,
        5 if upper == 0x10 => (a as i64 >> shift) as u64,
        6 => a | b,
        7 => a & b,
        _ => return None,
    })
}

/// Integer operations of 32 bits; the result is sign-extended.
#[inline(always)]
pub(crate) fn operate_word(funct3: u32, a: u64, b: u64, funct7: u32) -> Option<u64> {
    let (word, shift) = (a as u32, b as u32 & 31);
    let value = match (funct3, funct7) {
        (0, _) => word.wrapping_add(b as u32),
        (1, 0) => word << shift,
        (5, 0) => word >> shift,
        (5, 0x20) => (word as i32 >> shift) as u32,
        _ => return None,
    };
    Some(value as i32 as u64)
}

/// Multiplication and division of 64 bits. Division by zero and overflow have results, no traps.
#[inline(always)]
pub(crate) fn multiply(funct3: u32, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    match funct3 {
        0 => a.wrapping_mul(b),
        1 => ((i128::from(sa) * i128::from(sb)) >> 64) as u64,
        2 => (i128::from(sa).wrapping_mul(i128::from(b)) >> 64) as u64,
        3 => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        4 if b == 0 => u64::MAX,
        4 => sa.wrapping_div(sb) as u64,
        5 => a.checked_div(b).unwrap_or(u64::MAX),
        6 if b == 0 => a,
        6 => sa.wrapping_rem(sb) as u64,
        _ => a.checked_rem(b).unwrap_or(a),
    }
}

/// Multiplication and division of 32 bits; the result is sign-extended.
#[inline(always)]
pub(crate) fn multiply_word(funct3: u32, a: u32, b: u32) -> Option<u64> {
    let (sa, sb) = (a as i32, b as i32);
    let value = match funct3 {
        0 => a.wrapping_mul(b),
        4 if b == 0 => u32::MAX,
        4 => sa.wrapping_div(sb) as u32,
        5 => a.checked_div(b).unwrap_or(u32::MAX),
        6 if b == 0 => a,
        6 => sa.wrapping_rem(sb) as u32,
        7 => a.checked_rem(b).unwrap_or(a),
        _ => return None,
    };
    Some(value as i32 as u64)
}
