//! A disk that is small enough to be filled, and directories that become read-only.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A small file system, unmounted when it goes.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of 1 MiB. `None` if that is not allowed here, which is told.
    pub fn mount(path: &Path) -> Option<Disk> {
        Disk::of(path, 1)
    }

    /// Mounts one of so many MiB. `None` if that is not allowed here, which is told.
    pub fn of(path: &Path, mebibytes: u32) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mebibytes}m,mode=0700"))
            .arg("relocd-test")
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Disk { path: path.to_owned() }),
            other => {
                println!("SKIPPED: a file system can't be mounted here (it takes root): {other:?}");
                None
            }
        }
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join("filler"))
            .unwrap();
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a machine that is about to end may still be in there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A directory that has become read-only, as a disk does when it fails. What is open stays so. Writable again when it goes.
pub struct ReadOnly {
    path: PathBuf,
}

fn mounts(arguments: &[&str], path: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(path).output();
    mounted.is_ok_and(|output| output.status.success())
}

impl ReadOnly {
    /// Whether that can be done here, which is told if not.
    pub fn is_possible() -> bool {
        let directory = tempfile::tempdir().unwrap();
        let possible = mounts(&["--bind", directory.path().to_str().unwrap()], directory.path());
        if possible {
            drop(ReadOnly {
                path: directory.path().to_owned(),
            });
        } else {
            println!("SKIPPED: a directory can't be made read-only here (it takes root)");
        }
        possible
    }

    /// Makes it read-only.
    pub fn make(path: &Path) -> ReadOnly {
        assert!(mounts(&["--bind", path.to_str().unwrap()], path));
        let read_only = ReadOnly { path: path.to_owned() };
        assert!(mounts(&["-o", "remount,bind,ro"], path));
        assert!(fs::write(path.join("new"), "").is_err());
        read_only
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
