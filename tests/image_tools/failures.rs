//! What can't be read, and what can't be written.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{err, fails, fed, images::Legacy, succeeds, tool, xend};

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_can_not_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("text"), "hello, this is a text\n").unwrap();
    fs::write(
        path("junk"),
        (0..9000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(path("packed"), b"\x28\xb5\x2f\xfd\x00\x00").unwrap();
    fs::write(path("connection"), b"receive\nLinuxGuestRecord").unwrap();
    let out = path("out");
    for (file, what) in [
        (path("missing"), "No such file or directory"),
        (directory.path().to_str().unwrap().to_owned(), "it is a directory"),
        (path("empty"), "it is empty"),
        (path("text"), "it is no image of a domain"),
        (path("junk"), "it is no image of a domain"),
        (path("packed"), "zstd -dc"),
        (path("connection"), "cut off the line receive first"),
    ] {
        for arguments in [
            &["show", &file][..],
            &["show", "--json", &file],
            &["verify", &file],
            &["convert", &file, &out],
        ] {
            let said = fails(arguments, b"");
            assert!(said.starts_with(&format!("relocd image: {file}: ")), "{said}");
            assert!(said.contains(what), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    assert!(fails(&["show", "-"], b"").contains("standard input: it is empty"));
    assert!(!Path::new(&out).exists());
}

#[test]
fn what_needs_no_conversion() {
    let image = Legacy::pv64();
    let today = image.today();
    let save = [crate::xl_header(2, b"name = \"web\"\n"), today.clone()].concat();
    let out = "/nonexistent/out";
    assert!(fails(&["convert", "-", out], &save).contains("it is what xl restore takes already"));
    assert!(fails(&["convert", "-", out], &today).contains("it is a libxl stream, which needs no conversion"));
    assert!(fails(&["convert", "-", out], &today[24..]).contains("it is a libxc image, which needs no conversion"));
}

#[test]
fn what_can_not_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let bytes = xend(&Legacy::pv64());
    let convert = |arguments: &[&str]| fails(&[&["convert", "-"], arguments].concat(), &bytes);

    fs::write(path("there"), "precious").unwrap();
    assert!(convert(&[&path("there")]).contains("it is there already; --force replaces it"));
    assert_eq!(fs::read_to_string(path("there")).unwrap(), "precious");
    let said = convert(&[directory.path().to_str().unwrap()]);
    assert!(said.contains("it is a directory; name a file in it"), "{said}");
    assert!(convert(&[&path("no/such/directory")]).contains("No such file or directory"));
    assert!(convert(&["--force", "/dev/null"]).contains("it is no regular file"));
    let said = convert(&["--config", &path("no.cfg"), &path("out")]);
    assert!(said.contains("no.cfg: No such file"), "{said}");
    fs::write(path("bad.cfg"), "name = \"a\0b\"").unwrap();
    assert!(convert(&["--config", &path("bad.cfg"), &path("out")]).contains("a zero byte"));

    // Half an image: nothing, and what was there stays.
    let half = &bytes[..bytes.len() / 2];
    for out in [path("there"), path("new")] {
        let said = fails(&["convert", "--force", "-", &out], half);
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("relocd image: standard input: at byte "), "{said}");
        assert!(last.contains(&format!("{}", half.len())), "{said}");
    }
    // More than an image.
    let more = [&bytes[..], b"more"].concat();
    assert!(fails(&["convert", "-", &path("new")], &more).contains("the image ends here, and the file goes on"));
    assert_eq!(fs::read_to_string(path("there")).unwrap(), "precious");
    assert_eq!(names(directory.path()), ["bad.cfg", "there"]);

    // A full disk.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = path("web.xend");
    fs::write(&file, &bytes).unwrap();
    let output = tool(&["convert", &file, "-"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("No space left on device"), "{}", err(&output));
}

#[test]
fn force_replaces_a_file_and_what_a_link_leads_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let bytes = xend(&Legacy::pv64());
    fs::write(path("real"), "old").unwrap();
    symlink("real", path("link")).unwrap();
    succeeds(&["convert", "--force", "-", path("link").to_str().unwrap()], &bytes);
    assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
    assert!(fs::read(path("real")).unwrap().starts_with(b"Xen saved domain"));
    assert_eq!(fs::metadata(path("real")).unwrap().permissions().mode() & 0o777, 0o600);
    // In place.
    fs::write(path("real"), &bytes).unwrap();
    let name = path("real").to_str().unwrap().to_owned();
    succeeds(&["convert", "--force", &name, &name], b"");
    succeeds(&["verify", &name], b"");
    assert_eq!(names(directory.path()), ["link", "real"]);
}

#[test]
fn an_interrupt_leaves_no_half_file() {
    let bytes = xend(&Legacy::pv64());
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        fs::write(&out, "precious").unwrap();
        let mut child = tool(&["convert", "--force", "-", out.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&bytes[..bytes.len() / 2]).unwrap();
        // Its file is there under another name: it waits for more.
        let begin = Instant::now();
        while names(directory.path()).len() < 2 {
            assert!(begin.elapsed() < Duration::from_secs(60), "no temporary file appears");
            thread::sleep(Duration::from_millis(5));
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(code), "{}", err(&output));
        assert!(
            err(&output).ends_with("relocd image: interrupted\n"),
            "{}",
            err(&output)
        );
        assert_eq!(names(directory.path()), ["out"]);
        assert_eq!(fs::read_to_string(&out).unwrap(), "precious");
    }
}

#[test]
fn wrong_usage() {
    for arguments in [
        &[][..],
        &["show"],
        &["convert", "-"],
        &["frobnicate"],
        &["verify", "--json", "-"],
    ] {
        assert_eq!(fed(arguments, b"").status.code(), Some(2), "{arguments:?}");
    }
}
