//! Two network namespaces with a cable between them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    plan::Disturbance,
    support::{lives::inside, text},
};

/// Addresses for documentation: they lead nowhere but through the cable.
pub const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

const PREFIX: &str = "relocd-faults-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The two namespaces; they go with it.
pub struct Network {
    pub names: [String; 2],
}

fn run(namespace: Option<&str>, arguments: &[&str]) -> Output {
    let (program, rest) = arguments.split_first().unwrap();
    inside(namespace, program).args(rest).output().unwrap()
}

fn ok(namespace: Option<&str>, arguments: &[&str]) {
    let output = run(namespace, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
}

/// Why there can be no namespaces here.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces take root".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(format!("there is no program {program} (package {package})"));
        }
    }
    let made = Command::new("unshare").args(["--net", "true"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return Some("network namespaces can't be made here".to_owned());
    }
    None
}

/// Removes what earlier runs left that were killed.
pub fn sweep() {
    let output = run(None, &["ip", "netns", "list"]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            run(None, &["ip", "netns", "del", name]);
        }
    }
}

impl Network {
    pub fn new() -> Network {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("{PREFIX}{}-{number}{end}", std::process::id());
        let network = Network {
            names: [name('a'), name('b')],
        };
        let [a, b] = &network.names;
        ok(None, &["ip", "netns", "add", a]);
        ok(None, &["ip", "netns", "add", b]);
        ok(
            Some(a),
            &[
                "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b,
            ],
        );
        for (namespace, address) in network.names.iter().zip(ADDRESSES) {
            let address = format!("{address}/24");
            ok(Some(namespace), &["ip", "address", "add", &address, "dev", "eth0"]);
            ok(Some(namespace), &["ip", "link", "set", "lo", "up"]);
            ok(Some(namespace), &["ip", "link", "set", "eth0", "up"]);
        }
        network
    }

    /// Whether packets can be made late here, and how.
    pub fn slowness(&self) -> Option<&'static [&'static str]> {
        // This kernel may have neither; a queue that fills up is late as well.
        const WAYS: [&[&str]; 2] = [
            &["netem", "delay", "40ms", "10ms"],
            &["tbf", "rate", "100mbit", "burst", "64kb", "latency", "400ms"],
        ];
        WAYS.into_iter().find(|way| {
            let added = run(Some(&self.names[0]), &[&QDISC_ADD[..], way].concat());
            run(Some(&self.names[0]), QDISC_DEL);
            added.status.success()
        })
    }

    /// Disturbs the network; `source` is the namespace of the source.
    pub fn disturb(&self, what: Disturbance, source: usize) {
        let here = &self.names[source];
        let drop = |hook: &str, rule: &str| {
            format!("table inet faults {{\nchain {hook} {{\ntype filter hook {hook} priority 0;\n{rule}\n}}\n}}\n")
        };
        let every = "iifname lo accept\noifname lo accept\ndrop";
        match what {
            Disturbance::DropOut => nft(here, &drop("output", every)),
            Disturbance::DropIn => nft(here, &drop("input", every)),
            Disturbance::DropBoth | Disturbance::HalfOpen(_) => {
                nft(here, &(drop("output", every) + &drop("input", every)));
            }
            Disturbance::Reset => {
                for namespace in &self.names {
                    nft(namespace, &drop("input", "meta l4proto tcp reject with tcp reset"));
                }
            }
            Disturbance::Loss => {
                for namespace in &self.names {
                    nft(
                        namespace,
                        &drop("input", "meta l4proto tcp numgen random mod 100 < 1 drop"),
                    );
                }
            }
            Disturbance::Slow => {
                if let Some(way) = self.slowness() {
                    for namespace in &self.names {
                        ok(Some(namespace), &[&QDISC_ADD[..], way].concat());
                    }
                }
            }
        }
    }

    /// As if nothing had been.
    pub fn heal(&self) {
        for namespace in &self.names {
            nft(namespace, "flush ruleset\n");
            run(Some(namespace), QDISC_DEL);
        }
    }
}

const QDISC_ADD: [&str; 6] = ["tc", "qdisc", "add", "dev", "eth0", "root"];
const QDISC_DEL: &[&str] = &["tc", "qdisc", "del", "dev", "eth0", "root"];

fn nft(namespace: &str, rules: &str) {
    let mut child = inside(Some(namespace), "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {rules}: {}", text(&output));
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            run(None, &["ip", "netns", "del", name]);
            // Where `ip netns exec` keeps configuration files: none here.
            let _ = fs::remove_dir(Path::new("/etc/netns").join(name));
        }
    }
}
