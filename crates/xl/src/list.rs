//! `xl list -v`: the only one of xl's lists that tells states, and identities with them.

use std::time::Duration;

use toolstack::{Domain, DomainId, DomainState};
use uuid::Uuid;

use crate::names::Name;

/// A line of the list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: DomainId,
    pub(crate) name: Name,
    pub(crate) uuid: Uuid,
    memory_mib: u64,
    vcpus: u32,
    pub(crate) flags: Flags,
    cpu_time: Duration,
}

/// The column `State`, six characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    running: bool,
    blocked: bool,
    pub(crate) paused: bool,
    shut_down: bool,
    /// Why it has shut down, as a letter: `-` poweroff, `r` reboot, `s` suspend, `c` crash, `w` watchdog, `S` soft reset.
    reason: u8,
    pub(crate) dying: bool,
}

impl Flags {
    fn parse(text: &str) -> Option<Flags> {
        let &[running, blocked, paused, shut_down, reason, dying] = text.as_bytes() else {
            return None;
        };
        let flag = |byte: u8, letter: u8| match byte {
            b'-' => Some(false),
            byte if byte == letter => Some(true),
            _ => None,
        };
        Some(Flags {
            running: flag(running, b'r')?,
            blocked: flag(blocked, b'b')?,
            paused: flag(paused, b'p')?,
            shut_down: flag(shut_down, b's')?,
            reason,
            dying: flag(dying, b'd')?,
        })
    }

    /// It has suspended itself, and its memory is at rest.
    pub(crate) fn is_suspended(self) -> bool {
        self.shut_down && self.reason == b's' && !self.dying
    }
}

impl Row {
    /// Reads a line; `None` for the head line and whatever else is no domain.
    ///
    /// From its end: a name may hold blanks, and what stands behind it never does.
    fn parse(line: &str) -> Option<Row> {
        let mut rest = line;
        let mut last = || {
            let (before, word) = rest.trim_end().rsplit_once([' ', '\t'])?;
            rest = before;
            Some(word)
        };
        let _label = last()?;
        let _reason = last()?;
        let uuid = Uuid::try_parse(last()?).ok()?;
        let seconds: f64 = last()?.parse().ok()?;
        let flags = Flags::parse(last()?)?;
        let vcpus = last()?.parse().ok()?;
        let memory_mib = last()?.parse().ok()?;
        let id = last()?.parse().ok()?;
        Some(Row {
            id,
            name: Name::parse(rest.trim_end()),
            uuid,
            memory_mib,
            vcpus,
            flags,
            cpu_time: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        })
    }

    pub(crate) fn state(&self) -> DomainState {
        let flags = self.flags;
        let departs = matches!(self.name, Name::Departing { .. });
        if flags.dying {
            DomainState::Dying
        } else if flags.is_suspended() || departs && flags.paused {
            DomainState::Suspended
        } else if flags.shut_down && flags.reason == b'c' {
            DomainState::Crashed
        } else if flags.shut_down {
            // Powered off or about to reboot: its monitor sees to it.
            DomainState::Dying
        } else if flags.paused && matches!(self.name, Name::Arriving { .. }) {
            DomainState::Arriving
        } else if flags.paused {
            DomainState::Paused
        } else if flags.running {
            DomainState::Running
        } else {
            // Neither, for a moment, between two processors: it waits for one.
            DomainState::Blocked
        }
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain {
            id: self.id,
            name: self.name.shown(),
            uuid: self.uuid,
            memory_kib: self.memory_mib * 1024,
            vcpus: self.vcpus,
            state: self.state(),
            cpu_time: self.cpu_time,
        }
    }
}

/// Memory of domain 0 in such a list, in KiB.
pub(crate) fn dom0_kib(text: &str) -> Option<u64> {
    let row = text.lines().filter_map(Row::parse).find(|row| row.id == 0)?;
    Some(row.memory_mib * 1024)
}

/// Reads the list, without domain 0.
///
/// # Errors
/// If it is not such a list, in words: an empty one would say that domains have gone.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(head) if head.starts_with("Name ") && head.contains("UUID") => {}
        other => return Err(format!("xl list -v begins with {:?}", other.unwrap_or_default())),
    }
    let mut rows = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let row = Row::parse(line).ok_or_else(|| format!("xl list -v has a line that is not understood: {line:?}"))?;
        if row.id != 0 {
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n";

    fn line(name: &str, id: u32, state: &str, reason: &str) -> String {
        let uuid = "32fe8dbd-ead2-49dd-af32-89b799ba445a";
        let label = "-";
        format!(
            "{name:<40} {id:5} {:5} {:5}     {state}  {:8.1} {uuid} {reason:>8} {label:>16}\n",
            128, 2, 57.2
        )
    }

    fn states(lines: &str) -> Vec<DomainState> {
        parse(&format!("{HEAD}{lines}"))
            .unwrap()
            .iter()
            .map(Row::state)
            .collect()
    }

    #[test]
    fn what_a_list_tells() {
        let text = format!(
            "{HEAD}{}{}",
            line("Domain-0", 0, "r-----", "-"),
            line("two words", 16, "-b----", "-")
        );
        let rows = parse(&text).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((dom0_kib(&text), dom0_kib(HEAD)), (Some(128 * 1024), None));
        let domain = rows[0].domain();
        assert_eq!((domain.id, domain.name.as_str(), domain.vcpus), (16, "two words", 2));
        assert_eq!((domain.memory_kib, domain.state), (128 * 1024, DomainState::Blocked));
        assert_eq!(domain.cpu_time, Duration::from_millis(57200));
        assert_eq!(domain.uuid.to_string(), "32fe8dbd-ead2-49dd-af32-89b799ba445a");
    }

    #[test]
    fn states_as_xen_shows_them() {
        let relocation = Uuid::new_v4();
        let (departing, arriving) = (Name::departing(relocation, "web"), Name::arriving(relocation, "web"));
        let seen = [
            ("web", "r-----", DomainState::Running),
            ("web", "------", DomainState::Blocked),
            ("web", "--p---", DomainState::Paused),
            ("web--migratedaway", "---ss-", DomainState::Suspended),
            ("web", "---sc-", DomainState::Crashed),
            ("web", "---s--", DomainState::Dying),
            ("web", "---sr-", DomainState::Dying),
            ("(null)", "--p--d", DomainState::Dying),
            (&departing, "-b----", DomainState::Blocked),
            (&departing, "---ss-", DomainState::Suspended),
            (&departing, "--p---", DomainState::Suspended),
            (&arriving, "--p---", DomainState::Arriving),
            (&arriving, "r-----", DomainState::Running),
        ];
        for (name, flags, state) in seen {
            assert_eq!(states(&line(name, 5, flags, "-")), [state], "{name} {flags}");
        }
    }

    #[test]
    fn what_is_no_list_is_no_empty_list() {
        assert!(parse("").is_err());
        assert!(parse("Name  ID\n").is_err());
        assert!(parse(&format!("{HEAD}something else\n")).is_err());
        assert!(parse(&format!("{HEAD}{}", line("web", 3, "x-----", "-"))).is_err());
        assert_eq!(parse(HEAD), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in "[!-~]([ -~]{0,60}[!-~])?") {
            let rows = parse(&format!("{HEAD}{}", line(&name, 7, "-b----", "-"))).unwrap();
            prop_assert_eq!(rows[0].name.clone(), Name::parse(&name));
        }

        #[test]
        fn random_text_never_panics(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse(&format!("{HEAD}{text}"));
        }
    }
}
