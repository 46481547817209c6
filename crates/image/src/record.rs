//! Types of libxc records.

/// Type of a libxc record: bit 31 set = optional, a reader that does not know it may skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u32);

impl RecordType {
    /// The image ends; empty.
    pub const END: RecordType = RecordType(0x00);
    /// Guest pages.
    pub const PAGE_DATA: RecordType = RecordType(0x01);
    /// Width and page table levels of a PV guest.
    pub const X86_PV_INFO: RecordType = RecordType(0x02);
    /// The frames of a PV guest's p2m.
    pub const X86_PV_P2M_FRAMES: RecordType = RecordType(0x03);
    /// A PV vcpu's registers.
    pub const X86_PV_VCPU_BASIC: RecordType = RecordType(0x04);
    /// A PV vcpu's extended state.
    pub const X86_PV_VCPU_EXTENDED: RecordType = RecordType(0x05);
    /// A PV vcpu's XSAVE area.
    pub const X86_PV_VCPU_XSAVE: RecordType = RecordType(0x06);
    /// The shared info page.
    pub const SHARED_INFO: RecordType = RecordType(0x07);
    /// Time stamp counter mode and offset.
    pub const X86_TSC_INFO: RecordType = RecordType(0x08);
    /// The hypervisor's blob of an HVM guest.
    pub const HVM_CONTEXT: RecordType = RecordType(0x09);
    /// HVM parameters.
    pub const HVM_PARAMS: RecordType = RecordType(0x0a);
    /// Obsolete; Xen 4.17 does not read it.
    pub const TOOLSTACK: RecordType = RecordType(0x0b);
    /// A PV vcpu's model specific registers.
    pub const X86_PV_VCPU_MSRS: RecordType = RecordType(0x0c);
    /// What follows is sent again, for comparison; empty.
    pub const VERIFY: RecordType = RecordType(0x0d);
    /// A checkpoint (Remus); empty.
    pub const CHECKPOINT: RecordType = RecordType(0x0e);
    /// Pages dirtied at the secondary (COLO).
    pub const CHECKPOINT_DIRTY_PFN_LIST: RecordType = RecordType(0x0f);
    /// Static data ends; empty; mandatory in version 3.
    pub const STATIC_DATA_END: RecordType = RecordType(0x10);
    /// CPUID policy.
    pub const X86_CPUID_POLICY: RecordType = RecordType(0x11);
    /// MSR policy.
    pub const X86_MSR_POLICY: RecordType = RecordType(0x12);

    /// The first type of relocd's own records for software machines; mandatory, unknown to any Xen.
    pub const EMBEDDED_FIRST: RecordType = RecordType(0x5256_0000);

    /// relocd's own, optional: the configuration of the domain in libxl's JSON, as its Xen had it. Directly behind the start, and only there.
    /// A Xen that meets it skips it.
    pub const XL_CONFIG: RecordType = RecordType(0xd256_0001);

    /// Whether a reader that does not know this type may skip the record.
    pub fn is_optional(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }
}
