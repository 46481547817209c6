//! Programs of the host that a domain's configuration names: they run there as root, so a peer may name only those that come with Xen.
//!
//! Facts from xl.cfg(5), xl-network-configuration(5) and libxl: a script is looked for in `/etc/xen/scripts` unless it is an absolute path; a bootloader
//! without a `/` is looked for in Xen's own directory of programs first, and is run by root when the guest starts or reboots.

use crate::{config::DomainConfig, shown::shown};

/// Where scripts are.
const SCRIPTS: &str = "/etc/xen/scripts/";

/// What the directories begin with in which distributions have Xen's programs: `/usr/lib/xen-4.1/bin`, `/usr/lib64/xen/bin`, `/usr/libexec/xen/bin`.
const PROGRAMS: [&str; 6] = [
    "/usr/lib/xen",
    "/usr/lib64/xen",
    "/usr/libexec/xen",
    "/usr/local/lib/xen",
    "/usr/local/lib64/xen",
    "/usr/local/libexec/xen",
];

/// A program that a peer may not have run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignProgram {
    /// The script of a device.
    #[error(
        "script '{0}': only scripts in /etc/xen/scripts can come with a domain; put it there on both hosts, and name it without a path"
    )]
    Script(String),
    /// The bootloader.
    #[error("bootloader '{0}': only Xen's own pygrub and pvgrub can come with a domain")]
    Bootloader(String),
    /// An argument of it.
    #[error("bootloader_args '{0}': where the bootloader writes and as whom it runs is this host's matter")]
    Argument(String),
}

/// Whether a script is one of [`SCRIPTS`]: its name alone, or a path there.
///
/// # Errors
/// [`ForeignProgram::Script`].
pub fn check_script(script: &str) -> Result<(), ForeignProgram> {
    if is_file_name(script.strip_prefix(SCRIPTS).unwrap_or(script)) {
        return Ok(());
    }
    Err(ForeignProgram::Script(shown(script)))
}

/// Whether a bootloader is `pygrub`, or begins with `pvgrub`, and is where Xen's programs are.
///
/// # Errors
/// [`ForeignProgram::Bootloader`].
pub fn check_bootloader(bootloader: &str) -> Result<(), ForeignProgram> {
    let (directory, name) = bootloader.rsplit_once('/').unwrap_or(("", bootloader));
    let is_known = name == "pygrub" || (name.starts_with("pvgrub") && is_file_name(name));
    if is_known && is_directory(directory, bootloader.contains('/')) {
        return Ok(());
    }
    Err(ForeignProgram::Bootloader(shown(bootloader)))
}

/// Whether an argument leaves it to the host where pygrub writes and as whom it runs: not `--output...` or `--runas`, which may be shortened.
///
/// # Errors
/// [`ForeignProgram::Argument`].
pub fn check_bootloader_argument(argument: &str) -> Result<(), ForeignProgram> {
    if argument.starts_with("--ou") || argument.starts_with("--ru") {
        return Err(ForeignProgram::Argument(shown(argument)));
    }
    Ok(())
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn is_directory(directory: &str, is_path: bool) -> bool {
    if !is_path || directory == "/usr/bin" {
        return true;
    }
    let plain = directory.split('/').skip(1).all(is_file_name);
    // Up to the end of a name, or of a version after it.
    let begins = |prefix: &str| {
        let rest = directory.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']))
    };
    plain && PROGRAMS.iter().any(|prefix| begins(prefix))
}

impl DomainConfig {
    /// Whether all programs of the host that it names, which run there as root, are Xen's own: asked of what comes from another host.
    /// Scripts of disks have no path in it, see [`Vbd::disk`](crate::Vbd::disk).
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_programs(&self) -> Result<(), ForeignProgram> {
        self.vifs
            .iter()
            .filter_map(|vif| vif.script.as_deref())
            .try_for_each(check_script)?;
        if let Some(bootloader) = &self.bootloader {
            check_bootloader(bootloader)?;
        }
        self.bootloader_args
            .iter()
            .try_for_each(|argument| check_bootloader_argument(argument))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{GuestKind, Vif};

    #[test]
    fn scripts_are_those_of_the_host() {
        for good in ["vif-bridge", "vif-route", "/etc/xen/scripts/own", "block-drbd"] {
            assert_eq!(check_script(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/opt/own/vif",
            "../x",
            "..",
            "a/b",
            "/etc/xen/scripts/",
            "/etc/xen/scripts/../../../tmp/x",
            "/etc/xen/scripts//tmp/x",
            "/etc/xen/scriptsx",
        ] {
            assert_eq!(check_script(bad), Err(ForeignProgram::Script(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn bootloaders_are_xens() {
        for good in [
            "pygrub",
            "pvgrub",
            "pvgrub64",
            "/usr/bin/pygrub",
            "/usr/lib/xen/bin/pygrub",
            "/usr/lib/xen-4.1/bin/pygrub",
            "/usr/lib64/xen/bin/pvgrub32",
            "/usr/libexec/xen/bin/pygrub",
            "/usr/local/lib/xen/bin/pygrub",
        ] {
            assert_eq!(check_bootloader(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "sh",
            "/bin/sh",
            "/pygrub",
            "./pygrub",
            "bin/pygrub",
            "/tmp/pygrub",
            "/usr/bin/../../tmp/pygrub",
            "/usr/lib/xen/../../../tmp/pygrub",
            "/usr/lib/xenevil/pygrub",
            "/usr/lib/xen//bin/pygrub",
            "/usr/lib/xen/bin/pygrub.sh",
            "pygrub x",
        ] {
            assert_eq!(
                check_bootloader(bad),
                Err(ForeignProgram::Bootloader(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_a_configuration_names_is_looked_at() {
        let mut config = DomainConfig::new("web", Uuid::nil(), 1024, GuestKind::Pv);
        assert_eq!(config.check_programs(), Ok(()));
        config.bootloader = Some("pygrub".to_owned());
        config.bootloader_args = ["-q", "--entry=1", "--offset=512", "--kernel=/k"]
            .map(str::to_owned)
            .into();
        assert_eq!(config.check_programs(), Ok(()));
        for bad in [
            "--output=/etc/passwd",
            "--ou=/x",
            "--output-directory=/etc",
            "--runas=0",
            "--ru=0",
        ] {
            let mut config = config.clone();
            config.bootloader_args.push(bad.to_owned());
            assert_eq!(config.check_programs(), Err(ForeignProgram::Argument(bad.to_owned())));
        }
        config.vifs = vec![
            Vif::default(),
            Vif {
                script: Some("/x/y".to_owned()),
                ..Vif::default()
            },
        ];
        assert_eq!(config.check_programs(), Err(ForeignProgram::Script("/x/y".to_owned())));
    }
}
