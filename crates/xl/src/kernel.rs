//! The width of a PV guest's kernel, which xl does not tell: it decides which Xen can run the guest.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use domain::{DomainConfig, GuestKind};
use nix::fcntl::OFlag;
use toolstack::DomainId;

use crate::xenstore;

/// Bytes of a kernel's file that tell: up to and with `xloadflags` of Linux's setup header.
const HEAD: usize = 0x238;
/// For reading them: the file may be on storage that hangs.
const READING: Duration = Duration::from_secs(2);

/// The bits of a running PV guest's kernel, if something tells: what its disks say that it wrote for them, or the file it was started from.
pub(crate) fn bits(config: &DomainConfig, id: DomainId) -> Option<u8> {
    if config.kind != GuestKind::Pv {
        return None;
    }
    let disks = || {
        if config.vbds.is_empty() {
            None
        } else {
            bits_of_disks(id)
        }
    };
    disks().or_else(|| bits_of_file_in_time(path_of_kernel(config)?))
}

/// Where the kernel's file is on this host. What a bootloader is told is a path in the guest's own disk; a relative one began where `xl create` was run.
fn path_of_kernel(config: &DomainConfig) -> Option<PathBuf> {
    let path = PathBuf::from(config.kernel.as_ref()?);
    (config.bootloader.is_none() && path.is_absolute()).then_some(path)
}

fn bits_of_file_in_time(path: PathBuf) -> Option<u8> {
    let (tell, told) = mpsc::channel();
    let read = move || tell.send(bits_of_file(&path));
    thread::Builder::new().name("kernel-file".to_owned()).spawn(read).ok()?;
    told.recv_timeout(READING).ok().flatten()
}

/// Front ends of disks write it: `protocol = "x86_64-abi"` (Xen's `io/protocols.h`).
fn bits_of_disks(id: DomainId) -> Option<u8> {
    xenstore::list(&xenstore::node(id, "device/vbd")).and_then(|listed| bits_of_nodes(&listed))
}

fn bits_of_nodes(listed: &str) -> Option<u8> {
    listed.lines().find_map(|line| match line.trim_start() {
        "protocol = \"x86_32-abi\"" => Some(32),
        "protocol = \"x86_64-abi\"" => Some(64),
        _ => None,
    })
}

fn bits_of_file(path: &Path) -> Option<u8> {
    // The path may have come with the domain from another host: anything can be there, and not all of it is to be opened.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .ok()?;
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).ok()?;
    bits_of_kernel(&head)
}

/// An ELF file tells by its class. Linux's bzImage tells in `xloadflags`, bit 0, since version 2.12 of its boot protocol (Linux 3.8).
fn bits_of_kernel(head: &[u8]) -> Option<u8> {
    let word = |at: usize| Some(u16::from_le_bytes([*head.get(at)?, *head.get(at + 1)?]));
    if head.starts_with(b"\x7fELF") {
        return match head.get(4)? {
            1 => Some(32),
            2 => Some(64),
            _ => None,
        };
    }
    if head.get(0x202..0x206)? != b"HdrS" || word(0x206)? < 0x020c {
        return None;
    }
    Some(if word(0x236)? & 1 == 0 { 32 } else { 64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(version: u16, flags: u16) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x206..0x208].copy_from_slice(&version.to_le_bytes());
        head[0x236..0x238].copy_from_slice(&flags.to_le_bytes());
        head
    }

    #[test]
    fn kernels_tell_their_width() {
        for (head, expected) in [
            (b"\x7fELF\x01\x01".to_vec(), Some(32)),
            (b"\x7fELF\x02\x01".to_vec(), Some(64)),
            (b"\x7fELF\x07".to_vec(), None),
            (b"\x7fELF".to_vec(), None),
            (linux(0x020f, 0x7f), Some(64)),
            (linux(0x020f, 0x7e), Some(32)),
            // Too old to tell.
            (linux(0x020b, 1), None),
            (b"\x1f\x8b\x08".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(bits_of_kernel(&head), expected, "{:x?}", &head[..head.len().min(8)]);
            for length in 0..head.len() {
                let cut = bits_of_kernel(&head[..length]);
                assert!(cut.is_none() || cut == expected, "{length}");
            }
        }
    }

    #[test]
    fn front_ends_of_disks_tell_the_width() {
        let listed = |word| {
            format!(
                "51712 = \"\"\n backend = \"/local/domain/0/backend/vbd/3/51712\"\n event-channel = \"14\"\n protocol = \"{word}\"\n state = \"4\"\n"
            )
        };
        assert_eq!(bits_of_nodes(&listed("x86_32-abi")), Some(32));
        assert_eq!(bits_of_nodes(&listed("x86_64-abi")), Some(64));
        assert_eq!(bits_of_nodes(&listed("arm-abi")), None);
        assert_eq!(bits_of_nodes(""), None);
    }

    #[test]
    fn a_path_tells_only_where_it_is_this_hosts() {
        let mut config = DomainConfig::new("web", uuid::Uuid::nil(), 1024, GuestKind::Pv);
        assert_eq!(path_of_kernel(&config), None);
        config.kernel = Some("boot/vmlinuz".to_owned());
        assert_eq!(path_of_kernel(&config), None);
        config.kernel = Some("/boot/vmlinuz".to_owned());
        assert_eq!(path_of_kernel(&config), Some(PathBuf::from("/boot/vmlinuz")));
        config.bootloader = Some("pygrub".to_owned());
        assert_eq!(path_of_kernel(&config), None);
    }

    #[test]
    fn only_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(bits_of_file(&pipe), None);
        assert_eq!(bits_of_file(Path::new("/dev/zero")), None);
        assert_eq!(bits_of_file(directory.path()), None);
        let kernel = directory.path().join("vmlinuz");
        fs::write(&kernel, linux(0x020f, 0x7f)).unwrap();
        assert_eq!(bits_of_file(&kernel), Some(64));
    }
}
