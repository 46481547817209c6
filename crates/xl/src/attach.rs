//! A domain that has just been unpaused attaches to its devices.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use toolstack::DomainId;

/// Where Linux shows its network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// How long a domain without network interfaces in domain 0 is left alone.
const ATTACHING: Duration = Duration::from_millis(600);
/// How long one with some is, at most: its guest may have no driver for them. Together with what follows it should be over before the source guards its copy.
const LONGEST: Duration = Duration::from_secs(2);
/// Between two looks at its interfaces, and after the last one: its first packets come now.
const LOOKING: Duration = Duration::from_millis(50);

/// Leaves a domain alone that has just been unpaused, until its network runs. Domain 0 serves it in that, and both may have to share one processor with
/// whatever xl does: a look at xl's list would make the guest's network stand still for longer by what the look takes. A look at Linux's files costs nothing.
pub(crate) fn leave_alone(id: DomainId) {
    wait(Path::new(INTERFACES), id, LONGEST);
}

fn wait(interfaces: &Path, id: DomainId, longest: Duration) {
    let begun = Instant::now();
    let mut limit = longest;
    while begun.elapsed() < limit {
        let carriers = carriers(interfaces, id);
        if carriers.is_empty() {
            limit = limit.min(ATTACHING);
        } else if carriers.iter().all(|carrier| *carrier) {
            limit = limit.min(begun.elapsed() + LOOKING);
        }
        thread::sleep(LOOKING);
    }
}

/// Whether each of the domain's interfaces in domain 0 has a carrier: the kernel switches it on once the guest's driver has connected (Linux's `xen-netback`).
fn carriers(interfaces: &Path, id: DomainId) -> Vec<bool> {
    let prefix = format!("vif{id}.");
    let Ok(entries) = fs::read_dir(interfaces) else {
        return Vec::new();
    };
    let is_of_domain = |name: &str| {
        let number = name.strip_prefix(&prefix);
        // Not the `vif1.0-emu` of a device model.
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_of_domain))
        // That of an interface that is down can't be read.
        .map(|entry| fs::read_to_string(entry.path().join("carrier")).is_ok_and(|carrier| carrier.trim() == "1"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carriers_of_one_domain_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let interfaces = directory.path();
        assert!(carriers(&interfaces.join("missing"), 1).is_empty());
        for (name, carrier) in [
            ("vif1.0", "1\n"),
            ("vif1.1", "0\n"),
            ("vif1.0-emu", "0\n"),
            ("vif11.0", "0\n"),
            ("xenbr0", "1\n"),
            ("vif2.0", "1\n"),
        ] {
            fs::create_dir(interfaces.join(name)).unwrap();
            fs::write(interfaces.join(name).join("carrier"), carrier).unwrap();
        }
        let of = |id| {
            let mut carriers = carriers(interfaces, id);
            carriers.sort_unstable();
            carriers
        };
        assert_eq!(of(1), [false, true]);
        assert_eq!(of(2), [true]);
        assert!(of(3).is_empty());
        fs::remove_file(interfaces.join("vif2.0/carrier")).unwrap();
        assert_eq!(of(2), [false]);
    }

    #[test]
    fn the_wait_ends_with_the_carrier_and_at_the_latest_at_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let vif = directory.path().join("vif1.0");
        fs::create_dir(&vif).unwrap();
        fs::write(vif.join("carrier"), "0\n").unwrap();
        let begun = Instant::now();
        wait(directory.path(), 1, Duration::from_millis(200));
        assert!(begun.elapsed() >= Duration::from_millis(200));
        // Would never end within a test otherwise.
        let carrier = vif.join("carrier");
        let switched_on = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            fs::write(carrier, "1\n").unwrap();
        });
        wait(directory.path(), 1, Duration::from_secs(24 * 3600));
        switched_on.join().unwrap();
    }
}
