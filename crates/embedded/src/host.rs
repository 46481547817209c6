//! What a Linux machine offers to software machines.

use std::fs;

use domain::HostFacts;
use nix::sys::utsname::uname;
use toolstack::linux;

/// The host's facts. `used_kib`: what domains have; `limit_kib`: what they may have.
pub(crate) fn facts(used_kib: u64, limit_kib: Option<u64>) -> HostFacts {
    let available = meminfo("MemAvailable:");
    let free_memory_kib = limit_kib.map_or(available, |limit| available.min(limit.saturating_sub(used_kib)));
    let name = uname().map(|names| names.nodename().to_string_lossy().into_owned());
    HostFacts {
        name: name.unwrap_or_else(|_| "localhost".to_owned()),
        toolstack: "embedded".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: "riscv64".to_owned(),
        virtualization: vec!["rv64ima".to_owned()],
        free_memory_kib,
        total_memory_kib: meminfo("MemTotal:"),
        processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        bridges: linux::bridges(),
        ..HostFacts::default()
    }
}

/// A number of `/proc/meminfo`, in KiB; 0 if it is not there: then nothing fits, and says so.
fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
