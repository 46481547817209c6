//! `xl info`.

use std::collections::BTreeMap;

use domain::{CpuidRegister, HostFacts, features};

/// What a host with Xen is.
///
/// # Errors
/// What is missing, in words.
pub(crate) fn parse(text: &str) -> Result<HostFacts, String> {
    let lines: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let get = |key: &str| lines.get(key).copied().ok_or_else(|| format!("xl info has no {key}"));
    let mib = |key: &str| {
        let number = get(key)?.parse::<u64>();
        number
            .map(|mib| mib.saturating_mul(1024))
            .map_err(|_| format!("xl info: {key} is no number"))
    };
    let words = |key: &str| {
        lines
            .get(key)
            .map(|words| words.split_whitespace().collect())
            .unwrap_or_default()
    };
    let number = |key: &str| {
        get(key)?
            .parse::<u32>()
            .map_err(|_| format!("xl info: {key} is no number"))
    };
    let xen = Xen {
        version: (number("xen_major")?, number("xen_minor")?),
        capabilities: words("xen_caps"),
        virtualization: words("virt_caps"),
        hardware: get("hw_caps")
            .unwrap_or_default()
            .split(':')
            .map(|word| u32::from_str_radix(word, 16).unwrap_or_default())
            .collect(),
    };
    Ok(HostFacts {
        name: get("host")?.to_owned(),
        toolstack: "xl".to_owned(),
        version: get("xen_version")?.to_owned(),
        architecture: xen
            .architecture()
            .map_or_else(|| get("machine").map(str::to_owned), Ok)?,
        virtualization: xen.words().into_iter().map(str::to_owned).collect(),
        free_memory_kib: mib("free_memory")?,
        total_memory_kib: mib("total_memory")?,
        processors: number("nr_cpus")?,
        features: features(&xen.registers()).into_iter().map(str::to_owned).collect(),
        ..HostFacts::default()
    })
}

struct Xen<'a> {
    version: (u32, u32),
    capabilities: Vec<&'a str>,
    virtualization: Vec<&'a str>,
    hardware: Vec<u32>,
}

impl Xen<'_> {
    /// Of its guests: `xen-3.0-x86_64` is a 64-bit PV guest.
    fn architecture(&self) -> Option<String> {
        let has = |what: &str| self.capabilities.iter().any(|capability| capability.contains(what));
        ["x86_64", "aarch64"]
            .into_iter()
            .find(|what| has(what))
            .map(str::to_owned)
    }

    fn words(&self) -> Vec<&'static str> {
        let can = |what: &str| self.capabilities.iter().any(|capability| capability.starts_with(what));
        let says = |what: &str| self.virtualization.contains(&what);
        // Up to 4.12 it tells nothing of these three; log-dirty mode of PV guests was always there.
        let old = !says("pv") && !says("hap") && !says("shadow");
        // An old one says so of an x86 processor without further words; a new one built without PV does not have the first.
        let pv = says("pv") || old && can("xen-3.0-");
        let hvm = says("hvm") || can("hvm-3.0-");
        let facts = [
            ("pv", pv),
            // Debian, among others, builds Xen without it.
            ("pv32", pv && can("xen-3.0-x86_32p")),
            ("hvm", hvm),
            ("hap", says("hap")),
            ("shadow", says("shadow") || old),
            ("vmx", hvm && self.has(CpuidRegister::LEAF_1_ECX, 5)),
            ("svm", hvm && self.has(CpuidRegister::EXTENDED_ECX, 2)),
        ];
        facts
            .into_iter()
            .filter(|(_, has)| *has)
            .map(|(word, _)| word)
            .collect()
    }

    /// `hw_caps`, which are words of CPUID: since Xen 4.7 as Xen has them, before as Linux had them.
    fn registers(&self) -> Vec<(CpuidRegister, u32)> {
        let now = [
            (0, CpuidRegister::LEAF_1_EDX),
            (1, CpuidRegister::LEAF_1_ECX),
            (2, CpuidRegister::EXTENDED_EDX),
            (3, CpuidRegister::EXTENDED_ECX),
            (4, CpuidRegister::LEAF_D1_EAX),
            (5, CpuidRegister::LEAF_7_EBX),
            (6, CpuidRegister::LEAF_7_ECX),
        ];
        let before = [
            (0, CpuidRegister::LEAF_1_EDX),
            (1, CpuidRegister::EXTENDED_EDX),
            (4, CpuidRegister::LEAF_1_ECX),
            (6, CpuidRegister::EXTENDED_ECX),
            (7, CpuidRegister::LEAF_7_EBX),
        ];
        let layout: &[_] = if self.version >= (4, 7) { &now } else { &before };
        let word = |&(at, register): &(usize, CpuidRegister)| Some((register, *self.hardware.get(at)?));
        layout.iter().filter_map(word).collect()
    }

    fn has(&self, register: CpuidRegister, bit: u32) -> bool {
        let is = |&(other, value): &(CpuidRegister, u32)| other == register && value >> bit & 1 != 0;
        self.registers().iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a dom0 printed it, shortened.
    const SEEN: &str = "host                   : hosta\n\
        machine                : x86_64\n\
        nr_cpus                : 1\n\
        cpu_mhz                : 2596.120\n\
        hw_caps                : 078bf3fd:82982203:28100800:00000065:00000000:00000000:00000000:00000000\n\
        virt_caps              : pv hvm hap shadow gnttab-v1 gnttab-v2\n\
        total_memory           : 3071\n\
        free_memory            : 1881\n\
        xen_major              : 4\n\
        xen_minor              : 17\n\
        xen_extra              : .5\n\
        xen_version            : 4.17.5\n\
        xen_caps               : xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 \n\
        xen_commandline        : placeholder dom0_mem=1024M,max:1024M\n\
        xend_config_format     : 4\n";

    #[test]
    fn what_a_dom0_printed() {
        let facts = parse(SEEN).unwrap();
        assert_eq!((facts.name.as_str(), facts.version.as_str()), ("hosta", "4.17.5"));
        assert_eq!(
            (facts.toolstack.as_str(), facts.architecture.as_str()),
            ("xl", "x86_64")
        );
        assert_eq!(
            (facts.free_memory_kib, facts.total_memory_kib),
            (1881 * 1024, 3071 * 1024)
        );
        assert_eq!(facts.virtualization, ["pv", "hvm", "hap", "shadow", "svm"]);
        assert_eq!(facts.processors, 1);
    }

    #[test]
    fn features_of_the_processor() {
        let features = |text: &str| parse(text).unwrap().features;
        assert_eq!(
            features(SEEN).join(" "),
            "fpu tsc msr pae cx8 pge cmov pat pse36 clflush mmx fxsr sse sse2 sse3 pclmul ssse3 cx16 sse41 \
             sse42 popcnt aes syscall nx rdtscp lm lahf_lm lzcnt sse4a"
        );
        let newer = SEEN.replace("00000065:00000000:00000000:", "00000065:0000000f:00000020:");
        let more: Vec<String> = features(&newer).into_iter().skip(features(SEEN).len()).collect();
        assert_eq!(more, ["xsaveopt", "xsavec", "xgetbv1", "xsaves", "avx2"]);
        let old = SEEN
            .replace("xen_minor              : 17", "xen_minor              : 4")
            .replace(
                "82982203:28100800:00000065:00000000",
                "28100800:00000000:00000000:82982203",
            );
        assert_eq!(features(&old).join(" ").matches("syscall").count(), 1);
        assert!(!features(&old).contains(&"sse4a".to_owned()));
        assert!(features(&SEEN.replace("hw_caps", "no_caps")).is_empty());
    }

    #[test]
    fn what_others_would_print() {
        let words = |from: &str, to: &str| parse(&SEEN.replace(from, to)).unwrap().virtualization;
        assert_eq!(words("hap shadow", "hap"), ["pv", "hvm", "hap", "svm"]);
        assert_eq!(
            words(": xen-3.0-x86_64", ": xen-3.0-x86_64 xen-3.0-x86_32p"),
            ["pv", "pv32", "hvm", "hap", "shadow", "svm"]
        );
        // An Intel processor: bit 5 of 1.ecx.
        assert_eq!(
            words("82982203:28100800:00000065", "82982223:28100800:00000001"),
            ["pv", "hvm", "hap", "shadow", "vmx"]
        );
        // A processor without either.
        let text = SEEN
            .replace("pv hvm hap shadow", "pv")
            .replace(" hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64", "");
        assert_eq!(parse(&text).unwrap().virtualization, ["pv"]);
        // Xen 4.4 on an Intel processor.
        let text = SEEN
            .replace("pv hvm hap shadow gnttab-v1 gnttab-v2", "hvm hvm_directio")
            .replace("xen_minor              : 17", "xen_minor              : 4")
            .replace(
                "078bf3fd:82982203:28100800:00000065:00000000",
                "bfebfbff:28100800:00000000:00003f00:00000020",
            );
        assert_eq!(parse(&text).unwrap().virtualization, ["pv", "hvm", "shadow", "vmx"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in ["host", "free_memory", "xen_major", "xen_version", "nr_cpus"] {
            let text = SEEN.replace(&format!("{key} "), "other ");
            assert_eq!(parse(&text), Err(format!("xl info has no {key}")));
        }
        assert!(
            parse(&SEEN.replace("1881", "lots"))
                .unwrap_err()
                .contains("free_memory")
        );
        assert!(parse("").is_err());
    }
}
