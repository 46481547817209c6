//! The reader: the elements of a domain.

use sexp::Sexp;
use uuid::Uuid;

use super::{
    ConfigError, boot, devices,
    tree::{Fields, Known, Lost, list_named, named},
};
use crate::{
    config::{Action, DomainConfig, GuestKind},
    cpus::CpuSet,
    platform::{CPUID_REGISTERS, CpuidLeaf},
    unmapped::{Unmapped, Why},
};

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A xend's.
    Xend,
    /// relocd's own.
    Relocd,
}

/// Processors in all affinities together at most.
const MAX_AFFINITY: usize = 1 << 16;

/// What xend says of a domain that has no counterpart, and its values that say nothing.
const KNOWN: &[Known] = &[
    ("domid", Why::SourceFact, &[]),
    ("status", Why::SourceFact, &[]),
    ("state", Why::SourceFact, &[]),
    ("shutdown_reason", Why::SourceFact, &[]),
    ("cpu_time", Why::SourceFact, &[]),
    ("up_time", Why::SourceFact, &[]),
    ("start_time", Why::SourceFact, &[]),
    ("online_vcpus", Why::SourceFact, &[]),
    ("store_mfn", Why::SourceFact, &[]),
    ("console_mfn", Why::SourceFact, &[]),
    ("node", Why::SourceFact, &[]),
    ("memory_dynamic_min", Why::Implied, &[]),
    ("memory_dynamic_max", Why::Implied, &[]),
    ("features", Why::NoCounterpart, &[""]),
    ("description", Why::NoCounterpart, &[""]),
    ("on_xend_start", Why::NoCounterpart, &["", "ignore"]),
    ("on_xend_stop", Why::NoCounterpart, &["", "ignore"]),
    ("change_home_server", Why::NoCounterpart, &["", "False", "None", "0"]),
    ("cpuid_check", Why::NoCounterpart, &[""]),
    ("security", Why::NoCounterpart, &[""]),
    (
        "cpu_weight",
        Why::NoSuchValue("is a weight of another scheduler: today's have 1 to 65535"),
        &[],
    ),
    ("cpu_cap", Why::NoSuchValue("is no percentage"), &[]),
    (
        "vcpu_avail",
        Why::NoSuchValue("takes processors out of the middle; only the last ones can be offline"),
        &[],
    ),
    ("cpus", Why::NoSuchValue("is no set of processors that is known"), &[""]),
    ("cpu", Why::NoSuchValue("is no processor"), &["-1", ""]),
    ("cpuid", Why::NoSuchValue("is no mask that is known"), &[""]),
];

pub(crate) fn read(value: &Sexp, origin: Origin) -> Result<(DomainConfig, Vec<Unmapped>), ConfigError> {
    let elements = list_named(value, "domain").ok_or(ConfigError::NotADomain)?;
    let mut fields = Fields::new("", elements);
    let mut lost = Lost::default();

    let name = fields.text("name").ok_or(ConfigError::Missing("name"))?;
    if !DomainConfig::is_name(&name) {
        let expected = "1 to 255 bytes without control characters and without '/'";
        return Err(ConfigError::wrong("name", &name, expected));
    }
    let uuid = fields.text("uuid").ok_or(ConfigError::Missing("uuid"))?;
    let uuid = Uuid::parse_str(&uuid).map_err(|_| ConfigError::wrong("uuid", &uuid, "a uuid"))?;
    let memory_kib = kib(&mut fields, "memory-kib", "memory")?.ok_or(ConfigError::Missing("memory"))?;
    if origin == Origin::Xend && memory_kib == 0 {
        return Err(ConfigError::wrong("memory", "0", "1 or more MiB"));
    }
    // xend 3.0.x raises maxmem to memory if it is lower.
    let max_memory_kib = kib(&mut fields, "maxmem-kib", "maxmem")?
        .unwrap_or(memory_kib)
        .max(memory_kib);

    let image = fields.take("image");
    if let Some([_, more @ ..]) = image.filter(|image| image.len() > 1) {
        lost.add("image".to_owned(), more, Why::Unknown);
    }
    let mut image = boot::image(image)?;
    if origin == Origin::Xend && !matches!(image.kind, GuestKind::Pv | GuestKind::Hvm) {
        return Err(ConfigError::wrong("image", image.kind.image_word(), "linux or hvm"));
    }
    let mut config = DomainConfig::new(&name, uuid, memory_kib, image.kind);
    config.max_memory_kib = max_memory_kib;
    // 3.0.x has the number of an HVM guest in its image too, and that one counts.
    let most = u64::from(DomainConfig::MAX_VCPUS);
    let outer = number(&mut fields, "vcpus", most)?;
    let inner = number(&mut image.fields, "vcpus", most)?;
    let vcpus = inner.or(outer).unwrap_or(1).max(1);
    config.vcpus = u32::try_from(vcpus).unwrap_or(DomainConfig::MAX_VCPUS);

    processors(&mut fields, &mut config)?;
    config.shadow_memory_mib = fields.read("shadow_memory", |text| text.parse().ok());
    config.pool = fields.filled("pool_name");
    config.security_label = fields.filled("security_label");
    actions(&mut fields, &mut config)?;
    boot::boot(&mut fields, &mut image, &mut config, origin, &mut lost);
    cpuid(&mut fields, &mut config);
    devices::read(fields.take_all("device"), &mut config, origin, &mut lost)?;
    boot::displays(&mut image, &mut config, &mut lost);

    image.fields.finish(boot::known(config.kind), &mut lost);
    fields.finish(KNOWN, &mut lost);
    Ok((config, lost.finish()))
}

fn number(fields: &mut Fields, key: &'static str, most: u64) -> Result<Option<u64>, ConfigError> {
    let Some(text) = fields.text(key) else {
        return Ok(None);
    };
    match text.trim().parse::<u64>() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(ConfigError::wrong(key, &text, "a number in range")),
    }
}

fn kib(fields: &mut Fields, exact: &'static str, mib: &'static str) -> Result<Option<u64>, ConfigError> {
    let most = DomainConfig::MAX_MEMORY_KIB;
    let exact = number(fields, exact, most)?;
    let mib = number(fields, mib, most / 1024)?;
    Ok(exact.or(mib.map(|mib| mib * 1024)))
}

/// How many virtual processors are online, and where each may run.
fn processors(fields: &mut Fields, config: &mut DomainConfig) -> Result<(), ConfigError> {
    let vcpus = config.vcpus;
    let online = fields.read("vcpu_avail", |text| {
        let mask: u128 = text.parse().ok()?;
        // Bits beyond the number of virtual processors mean nothing.
        let mask = mask & 1_u128.checked_shl(vcpus).map_or(u128::MAX, |bit| bit - 1);
        let online = mask.trailing_ones();
        let beyond = mask.checked_shr(online).unwrap_or(0);
        (online > 0 && beyond == 0).then_some(online)
    });
    // A mask of relocd's own has 128 bits too; more than that are counted.
    let online = online.or_else(|| fields.read("online-vcpus", |text| text.parse().ok()));
    config.online_vcpus = online.filter(|online| *online < vcpus);
    config.cpu_weight = fields.read("cpu_weight", |text| {
        text.parse().ok().filter(|weight| (1..=0xffff).contains(weight))
    });
    config.cpu_cap = fields.read("cpu_cap", |text| text.parse().ok());
    let everywhere = |set: CpuSet| match set.is_any() {
        true => Vec::new(),
        // More than there may be in all is noticed below.
        false => vec![set.clone(); (vcpus as usize).min(MAX_AFFINITY / set.count() + 1)],
    };
    if let Some(sets) = fields.take_if("cpus", |value| affinity(value, vcpus, &everywhere)) {
        config.affinity = sets;
    } else if let Some(set) = fields.read("cpu", |text| text.parse().ok().filter(|cpu| *cpu < CpuSet::LIMIT)) {
        config.affinity = everywhere(CpuSet::new([set]));
    }
    // Sets of any processor at the end say nothing.
    while config.affinity.last().is_some_and(CpuSet::is_any) {
        config.affinity.pop();
    }
    if config.affinity.iter().map(CpuSet::count).sum::<usize>() > MAX_AFFINITY {
        return Err(ConfigError::TooMany {
            what: "processors in cpus",
            limit: MAX_AFFINITY,
        });
    }
    Ok(())
}

/// `(cpus 0-3)` for all, or `(cpus ((0 1) ()))`: one list for each virtual processor.
fn affinity(value: &[Sexp], vcpus: u32, everywhere: &dyn Fn(CpuSet) -> Vec<CpuSet>) -> Option<Vec<CpuSet>> {
    match value {
        [] => Some(Vec::new()),
        [Sexp::List(lists)] if lists.len() <= vcpus as usize => lists.iter().map(cpu_list).collect(),
        [Sexp::List(_)] => None,
        [text] => CpuSet::from_text(&sxp::text(text)?).map(everywhere),
        _ => None,
    }
}

fn cpu_list(value: &Sexp) -> Option<CpuSet> {
    let Sexp::List(cpus) = value else {
        return CpuSet::from_text(&sxp::text(value)?);
    };
    let cpu = |value: &Sexp| sxp::text(value)?.parse().ok().filter(|cpu| *cpu < CpuSet::LIMIT);
    cpus.iter().map(cpu).collect::<Option<Vec<u32>>>().map(CpuSet::new)
}

fn actions(fields: &mut Fields, config: &mut DomainConfig) -> Result<(), ConfigError> {
    // The old shorthand of hand-made configurations.
    let shorthand = fields.read("restart", |word| match word {
        "onreboot" => Some([Action::Destroy, Action::Restart, Action::Destroy]),
        "always" => Some([Action::Restart; 3]),
        "never" => Some([Action::Destroy; 3]),
        _ => None,
    });
    if let Some([poweroff, reboot, crash]) = shorthand {
        (config.on_poweroff, config.on_reboot, config.on_crash) = (poweroff, reboot, crash);
    }
    for (key, action) in [
        ("on_poweroff", &mut config.on_poweroff),
        ("on_reboot", &mut config.on_reboot),
        ("on_crash", &mut config.on_crash),
    ] {
        let Some(word) = fields.filled(key) else { continue };
        let expected = "destroy, restart, preserve or another of xend's actions";
        *action = Action::from_word(&word).ok_or_else(|| ConfigError::wrong(key, &word, expected))?;
    }
    Ok(())
}

/// `(cpuid ((1 ((eax MASK) (ecx MASK))) ...))`, as xend 3.3 and later print it.
fn cpuid(fields: &mut Fields, config: &mut DomainConfig) {
    config.cpuid = fields.take_if("cpuid", cpuid_leaves).unwrap_or_default();
}

fn cpuid_leaves(value: &[Sexp]) -> Option<Vec<CpuidLeaf>> {
    let [Sexp::List(leaves)] = value else {
        return value.is_empty().then(Vec::new);
    };
    if leaves.len() > DomainConfig::MAX_DEVICES {
        return None;
    }
    leaves.iter().map(cpuid_leaf).collect()
}

fn cpuid_leaf(value: &Sexp) -> Option<CpuidLeaf> {
    let (leaf, registers) = named(value)?;
    let (leaf, subleaf) = CpuidLeaf::leaf_from_text(&leaf)?;
    let [Sexp::List(registers)] = registers else {
        return None;
    };
    let mut masks = [const { None }; 4];
    for register in registers {
        let (name, value) = named(register)?;
        let at = CPUID_REGISTERS.iter().position(|known| *known == name)?;
        let [mask] = value else { return None };
        masks[at] = Some(CpuidLeaf::mask_from_text(&sxp::text(mask)?)?);
    }
    Some(CpuidLeaf {
        leaf,
        subleaf,
        registers: masks,
    })
}
