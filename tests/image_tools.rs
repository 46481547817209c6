//! `relocd image`: the program on made-up images of all variants, on streams that real xends sent, on what is no image, and with a hand on Ctrl-C.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "captures/mod.rs"]
mod captures;
#[path = "image_tools/failures.rs"]
mod failures;
#[path = "images/mod.rs"]
mod images;
#[path = "image_tools/layouts.rs"]
mod layouts;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use images::{Kind, Legacy, Variant, variants};
use serde_json::Value;

const RELOCD: &str = env!("CARGO_BIN_EXE_relocd");

/// `relocd image` with these arguments.
fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(RELOCD);
    command.arg("image").args(arguments);
    command
}

/// Runs it with this on its standard input.
fn fed(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = tool(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may stop reading before all is written.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(arguments: &[&str], input: &[u8]) -> Output {
    let output = fed(arguments, input);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        out(&output),
        err(&output)
    );
    output
}

/// What it says on standard error as it fails.
#[track_caller]
fn fails(arguments: &[&str], input: &[u8]) -> String {
    let output = fed(arguments, input);
    let code = output.status.code();
    assert_eq!(code, Some(1), "{arguments:?}: {}{}", out(&output), err(&output));
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", out(&output));
    err(&output)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

/// A configuration as an xend sends it.
fn xend_config(kind: &str) -> String {
    format!(
        "(domain (domid 7) (name web) (uuid 5e43982e-a82f-fbcb-bb76-28a42a96240e) (memory 32) (maxmem 32) (vcpus 1) (on_poweroff destroy) \
         (on_reboot restart) (on_crash restart) (features '') (odd 3) (image ({kind} (kernel /boot/vmlinuz) (args 'console=hvc0'))) \
         (device (vif (mac 00:16:3e:00:00:01) (bridge xenbr0))))"
    )
}

fn xend(image: &Legacy) -> Vec<u8> {
    let config = xend_config(if image.is_pv() { "linux" } else { "hvm" });
    let mut bytes = b"LinuxGuestRecord".to_vec();
    bytes.extend((config.len() as u32).to_be_bytes());
    bytes.extend(config.as_bytes());
    bytes.extend(image.bytes());
    bytes
}

/// A header of xl, with these flags and this configuration.
fn xl_header(flags: u32, config: &[u8]) -> Vec<u8> {
    let mut bytes = b"Xen saved domain, xl format\n \0 \r".to_vec();
    for number in [0x0102_0304, flags, 0, config.len() as u32 + 4, config.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(config);
    bytes
}

/// What stands in a file behind its xl header; and the configuration in it.
fn behind_header(file: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(&file[..32], b"Xen saved domain, xl format\n \0 \r");
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let behind = 48 + number(44);
    let config = if number(44) == 0 { 48..48 } else { 52..52 + number(48) };
    (&file[behind..], &file[config])
}

/// Whether `xl` could restore the variant's guest, so far as its kind goes.
fn all_variants() -> impl Iterator<Item = Variant> {
    variants().into_iter()
}

#[test]
fn every_variant_is_shown_verified_and_converted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.save");
    let path = file.to_str().unwrap();
    let old = directory.path().join("web.xend");
    for variant in all_variants() {
        let name = variant.name;
        let bytes = xend(&variant.image);
        let verified = succeeds(&["verify", "-"], &bytes);
        let said = out(&verified);
        assert!(
            said.starts_with("standard input: ok: xend envelope, legacy libxc image"),
            "{name}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        let shown = json(&succeeds(&["show", "--json", "-"], &bytes));
        assert_eq!(shown["complete"], true, "{name}");
        assert_eq!(shown["bytes"], bytes.len(), "{name}");
        assert_eq!(shown["config"]["language"], "sxp", "{name}");
        assert_eq!(shown["image"]["toolstack_width"], variant.image.word, "{name}");
        assert_eq!(
            shown["rounds"].as_array().unwrap().len(),
            variant.image.rounds as usize,
            "{name}"
        );
        let levels = match variant.image.kind {
            Kind::Pv64 => Value::from(4),
            Kind::Pae => Value::from(3),
            _ => Value::Null,
        };
        assert_eq!(shown["image"]["levels"], levels, "{name}");
        succeeds(&["convert", "--force", "-", path], &bytes);
        let made = fs::read(&file).unwrap();
        let (stream, config) = behind_header(&made);
        assert!(stream == variant.image.today(), "{name}: another stream");
        // From a file, whose pages the program need not read; to a file, and to a pipe.
        fs::write(&old, &bytes).unwrap();
        succeeds(&["convert", "--force", old.to_str().unwrap(), path], b"");
        assert!(fs::read(&file).unwrap() == made, "{name}: another file");
        let piped = succeeds(&["convert", old.to_str().unwrap(), "-"], b"");
        assert!(piped.stdout == made, "{name}: another file through a pipe");
        assert!(String::from_utf8_lossy(config).contains("name = \"web\""), "{name}");
        succeeds(&["verify", path], b"");
        let again = json(&succeeds(&["show", "--json", path], b""));
        assert_eq!(again["pages"]["distinct"], shown["pages"]["distinct"], "{name}");
        assert_eq!(again["config"]["language"], "xl-cfg", "{name}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn the_table_tells_what_an_operator_asks() {
    let image = Legacy {
        rounds: 3,
        vcpus: vec![0, 1],
        xsave: Some(608),
        ..Legacy::pv64()
    };
    let said = out(&succeeds(&["show", "-"], &xend(&image)));
    for line in [
        "standard input: xend envelope, legacy libxc image (PV)",
        "certain: it begins with LinuxGuestRecord",
        "(name web)",
        "(device (vif (mac 00:16:3e:00:00:01) (bridge xenbr0)))",
        "page tables        4 levels",
        "p2m                40 entries (0x28), in 1 pages",
        "3 rounds",
        "chunk -7 TSC_INFO: mode 1, 2400000 kHz",
        "block xcnt: 608 bytes of xsave data for each vcpu",
        "xsave data of vcpu 1: features 0x7, 592 bytes",
        "shared info",
    ] {
        assert!(said.contains(line), "no '{line}' in:\n{said}");
    }
    // A bare image: how sure it is.
    let said = out(&succeeds(&["show", "-"], &Legacy::hvm(8).bytes()));
    assert!(
        said.contains("legacy libxc image (HVM)") && said.contains("likely: a p2m size"),
        "{said}"
    );
    // What an image holds can't play with the terminal.
    let mut bytes = xl_header(2, b"name = \"\x1b]0;x\x07\"\n");
    bytes.extend(image.today());
    let said = out(&succeeds(&["show", "-"], &bytes));
    assert!(said.chars().all(|c| !c.is_control() || c == '\n'), "{said:?}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let image = Legacy::pv64();
    let mut bytes = image.today();
    // The length of X86_PV_INFO, behind 64 bytes of headers and 8 of LIBXC_CONTEXT.
    bytes[64 + 4] = 9;
    let output = fed(&["verify", "-"], &bytes);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        out(&output),
        "standard input: wrong: offset 0x44, X86_PV_INFO: found 9 bytes; expected 8\n"
    );
    assert!(output.stderr.is_empty(), "{}", err(&output));
    // Shown as far as it goes; the exit code says that this was not the end.
    let output = fed(&["show", "-"], &bytes);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("\nWrong\n  offset 0x44, X86_PV_INFO: found 9 bytes; expected 8\n"),
        "{}",
        out(&output)
    );
    let whole = xend(&image);
    for length in [whole.len() - 1, whole.len() / 2, 600, 30, 18] {
        let output = fed(&["verify", "-"], &whole[..length]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            out(&output).contains("found the end of the file; expected "),
            "{}",
            out(&output)
        );
        let shown = fed(&["show", "--json", "-"], &whole[..length]);
        assert_eq!(
            (shown.status.code(), json(&shown)["complete"].clone()),
            (Some(1), Value::Bool(false))
        );
    }
}

#[test]
fn conversion_tells_what_has_no_counterpart_and_takes_other_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let image = Legacy::pv64();
    let output = succeeds(&["convert", "-", &path("a")], &xend(&image));
    assert!(
        out(&output).starts_with(&format!("{}: xl save file, ", path("a"))),
        "{}",
        out(&output)
    );
    assert!(
        err(&output).contains("not in the new configuration: odd (3)"),
        "{}",
        err(&output)
    );
    // Facts of the old host are not worth a word.
    assert!(!err(&output).contains("domid"), "{}", err(&output));

    fs::write(path("web.cfg"), "name = \"other\"\n").unwrap();
    succeeds(
        &["convert", "--config", &path("web.cfg"), "-", &path("b")],
        &xend(&image),
    );
    let made = fs::read(path("b")).unwrap();
    assert_eq!(behind_header(&made).1, b"name = \"other\"\n");

    // A bare image: with a configuration, and without one.
    let output = succeeds(
        &["convert", "--config", &path("web.cfg"), "-", &path("c")],
        &image.bytes(),
    );
    assert_eq!(err(&output), "");
    assert_eq!(fs::read(path("c")).unwrap(), made);
    let output = succeeds(&["convert", "-", &path("d")], &image.bytes());
    assert!(
        err(&output).contains("no configuration: xl restore will need one"),
        "{}",
        err(&output)
    );
    let made = fs::read(path("d")).unwrap();
    assert_eq!(behind_header(&made), (&image.today()[..], &b""[..]));
    succeeds(&["verify", &path("d")], b"");

    // A file of xl save of Xen 4.4 keeps its configuration, whatever its language.
    let config = b"{\"c_info\": {\"type\": \"hvm\", \"name\": \"web\"}}\0";
    let old = [xl_header(1, config), Legacy::hvm(8).bytes()].concat();
    succeeds(&["verify", "-"], &old);
    succeeds(&["convert", "-", &path("e")], &old);
    let made = fs::read(path("e")).unwrap();
    assert_eq!(behind_header(&made), (&Legacy::hvm(8).today()[..], &config[..]));
    assert_eq!(made[36], 3);
    succeeds(&["verify", &path("e")], b"");

    // An HVM guest of xend's: its device model is gone.
    let output = succeeds(&["convert", "-", &path("f")], &xend(&Legacy::hvm(8)));
    assert!(err(&output).contains("xl will not restore it: "), "{}", err(&output));
}

#[test]
fn conversion_between_streams() {
    let image = Legacy::pv64();
    let output = succeeds(&["convert", "-", "-"], &xend(&image));
    let (stream, _) = behind_header(&output.stdout);
    assert!(stream == image.today());
    assert!(!err(&output).contains("pages"), "{}", err(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.xend");
    // More than a pipe holds: a configuration of 300 kB.
    let config = xend_config("linux").replace("console=hvc0", &"x".repeat(300_000));
    let mut bytes = b"LinuxGuestRecord".to_vec();
    bytes.extend((config.len() as u32).to_be_bytes());
    bytes.extend(config.as_bytes());
    bytes.extend(Legacy::pv64().bytes());
    fs::write(&file, bytes).unwrap();
    let name = file.to_str().unwrap();
    for (arguments, code) in [
        (&["show", name][..], 0),
        (&["show", "--json", name], 0),
        // Half a file is not what was asked for.
        (&["convert", name, "-"], 1),
    ] {
        let mut child = tool(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        let said = err(&output);
        assert!(
            said.is_empty() || said.lines().all(|line| line.contains("not in the new")),
            "{said}"
        );
    }
}

#[test]
fn help_has_examples() {
    for command in ["show", "verify", "convert"] {
        let said = out(&succeeds(&[command, "--help"], b""));
        assert!(said.contains("Example") && said.contains("Exit codes"), "{said}");
    }
    assert!(Path::new(RELOCD).exists());
}
