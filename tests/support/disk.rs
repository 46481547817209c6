//! A disk that is small enough to be filled.

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
