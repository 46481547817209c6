//! Features of x86 processors that guests use without asking anybody: once a guest has found one at its start, it counts on it wherever it goes.
//!
//! The names are those of Xen's own tools. What a hypervisor emulates or never shows to a guest is not among them.

use crate::{DomainConfig, GuestKind};

/// A register of CPUID in which features stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidRegister {
    leaf: u32,
    subleaf: Option<u32>,
    /// Index in [`crate::CPUID_REGISTERS`].
    register: usize,
}

impl CpuidRegister {
    /// Leaf 1, edx.
    pub const LEAF_1_EDX: CpuidRegister = CpuidRegister::new(1, None, 3);
    /// Leaf 1, ecx.
    pub const LEAF_1_ECX: CpuidRegister = CpuidRegister::new(1, None, 2);
    /// Leaf 0x80000001, edx.
    pub const EXTENDED_EDX: CpuidRegister = CpuidRegister::new(0x8000_0001, None, 3);
    /// Leaf 0x80000001, ecx.
    pub const EXTENDED_ECX: CpuidRegister = CpuidRegister::new(0x8000_0001, None, 2);
    /// Leaf 0xd, subleaf 1, eax: ways to save state.
    pub const LEAF_D1_EAX: CpuidRegister = CpuidRegister::new(0xd, Some(1), 0);
    /// Leaf 7, subleaf 0, ebx.
    pub const LEAF_7_EBX: CpuidRegister = CpuidRegister::new(7, Some(0), 1);
    /// Leaf 7, subleaf 0, ecx.
    pub const LEAF_7_ECX: CpuidRegister = CpuidRegister::new(7, Some(0), 2);

    const fn new(leaf: u32, subleaf: Option<u32>, register: usize) -> CpuidRegister {
        CpuidRegister {
            leaf,
            subleaf,
            register,
        }
    }
}

type Bits = &'static [(u8, &'static str)];

#[rustfmt::skip] // a table
const FEATURES: [(CpuidRegister, Bits); 7] = [
    (CpuidRegister::LEAF_1_EDX, &[
        (0, "fpu"), (4, "tsc"), (5, "msr"), (6, "pae"), (8, "cx8"), (11, "sysenter"), (13, "pge"), (15, "cmov"), (16, "pat"), (17, "pse36"),
        (19, "clflush"), (23, "mmx"), (24, "fxsr"), (25, "sse"), (26, "sse2"),
    ]),
    (CpuidRegister::LEAF_1_ECX, &[
        (0, "sse3"), (1, "pclmul"), (9, "ssse3"), (12, "fma"), (13, "cx16"), (17, "pcid"), (19, "sse41"), (20, "sse42"), (22, "movebe"), (23, "popcnt"),
        (25, "aes"), (26, "xsave"), (28, "avx"), (29, "f16c"), (30, "rdrnd"),
    ]),
    (CpuidRegister::EXTENDED_EDX, &[
        (11, "syscall"), (20, "nx"), (22, "mmx+"), (25, "ffxsr"), (26, "pg1g"), (27, "rdtscp"), (29, "lm"), (30, "3dnow+"), (31, "3dnow"),
    ]),
    (CpuidRegister::EXTENDED_ECX, &[
        (0, "lahf_lm"), (4, "cr8d"), (5, "lzcnt"), (6, "sse4a"), (7, "msse"), (8, "3dnowpf"), (11, "xop"), (16, "fma4"), (21, "tbm"), (26, "dbx"),
    ]),
    (CpuidRegister::LEAF_D1_EAX, &[(0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves")]),
    (CpuidRegister::LEAF_7_EBX, &[
        (0, "fsgsbase"), (3, "bmi1"), (4, "hle"), (5, "avx2"), (7, "smep"), (8, "bmi2"), (9, "erms"), (10, "invpcid"), (11, "rtm"), (14, "mpx"),
        (16, "avx512f"), (17, "avx512dq"), (18, "rdseed"), (19, "adx"), (20, "smap"), (21, "avx512-ifma"), (23, "clflushopt"), (24, "clwb"),
        (26, "avx512pf"), (27, "avx512er"), (28, "avx512cd"), (29, "sha"), (30, "avx512bw"), (31, "avx512vl"),
    ]),
    (CpuidRegister::LEAF_7_ECX, &[
        (0, "prefetchwt1"), (1, "avx512-vbmi"), (2, "umip"), (3, "pku"), (6, "avx512-vbmi2"), (8, "gfni"), (9, "vaes"), (10, "vpclmulqdq"),
        (11, "avx512-vnni"), (12, "avx512-bitalg"), (14, "avx512-vpopcntdq"), (22, "rdpid"), (27, "movdiri"), (28, "movdir64b"),
    ]),
];

/// What Xen shows to PVH and HVM guests only (`S` and `H` in its `cpufeatureset.h`, up to 4.20).
const NOT_OF_PV: [&str; 11] = [
    "pse36", "pcid", "pg1g", "cr8d", "xsaves", "smep", "invpcid", "mpx", "smap", "umip", "pku",
];

/// What a guest sees only if its configuration asks for it (small letters there). Older Xens, up to 4.14, showed `mpx` and `hle` by themselves: of the first an
/// image tells, and is refused where it can't be; the second's hints are passed over by a processor that does not know them.
const NOT_BY_ITSELF: [&str; 4] = ["hle", "mpx", "movdiri", "movdir64b"];

/// The features of a processor, of the registers of CPUID that are known of it.
pub fn features(registers: &[(CpuidRegister, u32)]) -> Vec<&'static str> {
    let of = |(register, value): &(CpuidRegister, u32)| {
        let known = FEATURES.iter().find(|(other, _)| other == register);
        let value = *value;
        let bits = known.map(|(_, bits)| *bits).unwrap_or_default();
        bits.iter()
            .filter(move |(bit, _)| value >> bit & 1 != 0)
            .map(|(_, name)| *name)
    };
    registers.iter().flat_map(of).collect()
}

/// Those of these names that are names of features; in the order of [`features`], each once.
pub fn known_features(names: &[String]) -> Vec<&'static str> {
    let all = FEATURES.iter().flat_map(|(_, bits)| bits.iter().map(|(_, name)| *name));
    all.filter(|name| names.iter().any(|other| other == name)).collect()
}

/// Whether a domain's guest does not see a feature: guests of its kind never do, or its configuration takes it away, or does not ask for it (`cpuid`).
pub(crate) fn is_hidden(domain: &DomainConfig, name: &str) -> bool {
    if domain.kind == GuestKind::Pv && NOT_OF_PV.contains(&name) {
        return true;
    }
    let find = |(register, bits): &(CpuidRegister, Bits)| {
        let (bit, _) = bits.iter().find(|(_, other)| *other == name)?;
        Some((*register, *bit))
    };
    let Some((register, bit)) = FEATURES.iter().find_map(find) else {
        return false;
    };
    let leaves = domain
        .cpuid
        .iter()
        .filter(|leaf| leaf.leaf == register.leaf && (leaf.subleaf.is_none() || leaf.subleaf == register.subleaf));
    let masks = leaves.filter_map(|leaf| leaf.registers.get(register.register)?.as_ref());
    // The highest bit stands first.
    let letters: Vec<u8> = masks
        .filter_map(|mask| mask.as_bytes().get(31 - usize::from(bit)).copied())
        .collect();
    letters.contains(&b'0') || NOT_BY_ITSELF.contains(&name) && letters.iter().all(|letter| *letter == b'x')
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::CpuidLeaf;

    #[test]
    fn bits_have_names() {
        let (edx, ecx) = (CpuidRegister::LEAF_1_EDX, CpuidRegister::LEAF_1_ECX);
        assert_eq!(
            features(&[(edx, 1 << 25 | 1 << 26), (ecx, 1 << 28)]),
            ["sse", "sse2", "avx"]
        );
        // What a guest never sees: monitor, vmx, the bit of a hypervisor.
        assert_eq!(features(&[(ecx, 1 << 3 | 1 << 5 | 1 << 31)]), [""; 0]);
        let all: Vec<&str> = FEATURES
            .iter()
            .flat_map(|(_, bits)| bits.iter().map(|(_, name)| *name))
            .collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn only_names_of_features_are_known() {
        let names = ["avx2", "sse", "no-such", "sse", "", "avx2 sse"].map(str::to_owned);
        assert_eq!(known_features(&names), ["sse", "avx2"]);
        assert_eq!(known_features(&[]), [""; 0]);
    }

    #[test]
    fn what_a_configuration_takes_away() {
        let mut domain = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Pv);
        assert!(!is_hidden(&domain, "avx") && is_hidden(&domain, "smep") && is_hidden(&domain, "cr8d"));
        domain.kind = GuestKind::Pvh;
        assert!(!is_hidden(&domain, "smep") && !is_hidden(&domain, "cr8d"));
        let known = |name: &&str| {
            FEATURES
                .iter()
                .any(|(_, bits)| bits.iter().any(|(_, other)| other == name))
        };
        assert!(NOT_OF_PV.iter().all(known) && NOT_BY_ITSELF.iter().all(known));
        let mask = |bit: usize, letter: &str| {
            let mut mask = "x".repeat(32);
            mask.replace_range(31 - bit..32 - bit, letter);
            Some(mask)
        };
        let leaf = |leaf, subleaf, register: usize, mask| {
            let mut registers = [const { None }; 4];
            registers[register] = mask;
            CpuidLeaf {
                leaf,
                subleaf,
                registers,
            }
        };
        domain.cpuid = vec![leaf(1, None, 2, mask(28, "0")), leaf(7, Some(0), 1, mask(5, "0"))];
        assert!(is_hidden(&domain, "avx") && is_hidden(&domain, "avx2"));
        assert!(!is_hidden(&domain, "aes") && !is_hidden(&domain, "no-such"));
        domain.cpuid = vec![leaf(1, None, 2, mask(28, "k")), leaf(7, Some(1), 1, mask(5, "0"))];
        assert!(!is_hidden(&domain, "avx") && !is_hidden(&domain, "avx2"));
        // What it has to ask for.
        for (letter, hidden) in [("x", true), ("0", true), ("1", false), ("k", false), ("s", false)] {
            domain.cpuid = vec![leaf(7, Some(0), 1, mask(14, letter))];
            assert_eq!(is_hidden(&domain, "mpx"), hidden, "{letter}");
        }
        domain.kind = GuestKind::Pv;
        assert!(is_hidden(&domain, "mpx") && is_hidden(&domain, "movdiri"));
    }
}
