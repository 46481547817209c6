//! Names of things that have numbers, as Xen has them.

/// The type of a page.
pub(super) fn page_type(nibble: u8) -> &'static str {
    match nibble {
        0 => "NOTAB",
        1 => "L1TAB",
        2 => "L2TAB",
        3 => "L3TAB",
        4 => "L4TAB",
        8 => "PIN",
        9 => "PIN|L1TAB",
        10 => "PIN|L2TAB",
        11 => "PIN|L3TAB",
        12 => "PIN|L4TAB",
        13 => "BROKEN",
        14 => "XALLOC",
        15 => "XTAB",
        _ => "?",
    }
}

/// A libxc record of versions 2 and 3.
pub(super) fn libxc(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0x00 => "END",
        0x01 => "PAGE_DATA",
        0x02 => "X86_PV_INFO",
        0x03 => "X86_PV_P2M_FRAMES",
        0x04 => "X86_PV_VCPU_BASIC",
        0x05 => "X86_PV_VCPU_EXTENDED",
        0x06 => "X86_PV_VCPU_XSAVE",
        0x07 => "SHARED_INFO",
        0x08 => "X86_TSC_INFO",
        0x09 => "HVM_CONTEXT",
        0x0a => "HVM_PARAMS",
        0x0b => "TOOLSTACK",
        0x0c => "X86_PV_VCPU_MSRS",
        0x0d => "VERIFY",
        0x0e => "CHECKPOINT",
        0x0f => "CHECKPOINT_DIRTY_PFN_LIST",
        0x10 => "STATIC_DATA_END",
        0x11 => "X86_CPUID_POLICY",
        0x12 => "X86_MSR_POLICY",
        _ => return None,
    })
}

/// A libxl record.
pub(super) fn libxl(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0 => "libxl END",
        1 => "LIBXC_CONTEXT",
        2 => "EMULATOR_XENSTORE_DATA",
        3 => "EMULATOR_CONTEXT",
        4 => "CHECKPOINT_END",
        5 => "CHECKPOINT_STATE",
        _ => return None,
    })
}

/// A chunk of a legacy image.
pub(super) fn chunk(id: i32) -> Option<&'static str> {
    Some(match id {
        0 => "end of the pages",
        -1 => "ENABLE_VERIFY_MODE",
        -2 => "VCPU_INFO",
        -3 => "HVM_IDENT_PT",
        -4 => "HVM_VM86_TSS",
        -5 => "TMEM",
        -6 => "TMEM_EXTRA",
        -7 => "TSC_INFO",
        -8 => "HVM_CONSOLE_PFN",
        -9 => "LAST_CHECKPOINT",
        -10 => "HVM_ACPI_IOPORTS_LOCATION",
        -11 => "HVM_VIRIDIAN",
        -12 => "COMPRESSED_DATA",
        -13 => "ENABLE_COMPRESSION",
        -14 => "HVM_GENERATION_ID_ADDR",
        -15 => "HVM_PAGING_RING_PFN",
        -16 => "HVM_ACCESS_RING_PFN",
        -17 => "HVM_SHARING_RING_PFN",
        -18 => "TOOLSTACK",
        -19 => "HVM_IOREQ_SERVER_PFN",
        -20 => "HVM_NR_IOREQ_SERVER_PAGES",
        -21 => "HVM_X87_FIP_WIDTH",
        _ => return None,
    })
}

/// The HVM parameter that a chunk of a legacy image carries.
pub(super) fn chunk_parameter(id: i32) -> Option<u64> {
    Some(match id {
        -3 => 12,
        -4 => 15,
        -8 => 17,
        -10 => 19,
        -11 => 9,
        -14 => 34,
        -15 => 27,
        -16 => 28,
        -17 => 29,
        -19 => 32,
        -20 => 33,
        -21 => 36,
        _ => return None,
    })
}

/// An HVM parameter.
pub(super) fn hvm_parameter(index: u64) -> Option<&'static str> {
    Some(match index {
        0 => "CALLBACK_IRQ",
        1 => "STORE_PFN",
        2 => "STORE_EVTCHN",
        4 => "PAE_ENABLED",
        5 => "IOREQ_PFN",
        6 => "BUFIOREQ_PFN",
        9 => "VIRIDIAN",
        10 => "TIMER_MODE",
        11 => "HPET_ENABLED",
        12 => "IDENT_PT",
        14 => "ACPI_S_STATE",
        15 => "VM86_TSS",
        16 => "VPT_ALIGN",
        17 => "CONSOLE_PFN",
        18 => "CONSOLE_EVTCHN",
        19 => "ACPI_IOPORTS_LOCATION",
        24 => "NESTEDHVM",
        27 => "PAGING_RING_PFN",
        28 => "MONITOR_RING_PFN",
        29 => "SHARING_RING_PFN",
        32 => "IOREQ_SERVER_PFN",
        33 => "NR_IOREQ_SERVER_PAGES",
        34 => "VM_GENERATION_ID_ADDR",
        35 => "ALTP2M",
        36 => "X87_FIP_WIDTH",
        37 => "VM86_TSS_SIZED",
        38 => "MCA_CAP",
        _ => return None,
    })
}

/// A number with its name; `known` is what the number means if it means anything.
pub(super) fn or_number(known: Option<&'static str>, what: &str, number: impl std::fmt::Display) -> String {
    match known {
        Some(name) => name.to_owned(),
        None => format!("{what} {number}, which is not known"),
    }
}
