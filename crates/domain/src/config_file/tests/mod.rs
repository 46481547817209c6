mod xen;

use proptest::prelude::*;

use super::*;
use crate::Vif;

fn read(text: &str) -> Result<Loaded, ConfigFileError> {
    load("web.cfg", text.as_bytes(), &[])
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

const SMALL: &str = "name = 'web'\nmemory = 64\n";

#[test]
fn a_whole_file() {
    let text = r#"
# A web server
name   = "web"   # its name
memory = 256 ; maxmem = 0x200
vcpus  = '2'
kernel = '/boot/vmlinuz'
extra  = "console=hvc0 say=\"it's\"\x21\101 \d"
uuid   = "4e2b4a1c-5f0e-4c7b-9d3f-0a1b2c3d4e5f"
vif = [
    'mac=00:16:3e:00:00:01, bridge=xenbr0, model=e1000',   # the first
    '',
]
disk = [ 'phy:/dev/vg0/web,xvda,w', ",hdc:cdrom,r" ]
on_poweroff = 'preserve'
on_crash = "coredump-restart"
"#;
    let Loaded { config, warnings } = read(text).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        (config.name.as_str(), config.memory_kib, config.max_memory_kib),
        ("web", 256 << 10, 512 << 10)
    );
    assert_eq!((config.vcpus, config.kind), (2, GuestKind::Pv));
    assert_eq!(config.extra.as_deref(), Some("console=hvc0 say=\"it's\"!A \\d"));
    assert_eq!(config.uuid.to_string(), "4e2b4a1c-5f0e-4c7b-9d3f-0a1b2c3d4e5f");
    assert_eq!(config.vifs[0].mac.as_deref(), Some("00:16:3e:00:00:01"));
    assert_eq!(config.vifs[0].model.as_deref(), Some("e1000"));
    assert_eq!(config.vifs[1], Vif::default());
    assert_eq!(config.vbds[0].backing.as_deref(), Some("phy:/dev/vg0/web"));
    assert_eq!(
        (config.vbds[1].device.as_str(), &config.vbds[1].backing),
        ("hdc:cdrom", &None)
    );
    assert_eq!(
        (config.on_poweroff, config.on_crash),
        (Action::Preserve, Action::CoredumpRestart)
    );
    assert_eq!(DomainConfig::from_sxp(&config.to_sxp()).unwrap(), config);
}

#[test]
fn small_files_have_defaults() {
    let config = read(SMALL).unwrap().config;
    assert_eq!(
        (config.kind, config.vcpus, config.max_memory_kib),
        (GuestKind::Embedded, 1, 64 << 10)
    );
    assert_eq!(config.uuid.get_version_num(), 4);
    assert_ne!(config.uuid, read(SMALL).unwrap().config.uuid);
    assert!(read("\u{feff}name='a'\r\nmemory=1\r\nkernel=None").is_ok());
    assert!(load("f", b"# caf\xe9\nname='a'\nmemory=\\\n 1", &[]).is_ok());
}

#[test]
fn kinds() {
    let kind = |more: &str| read(&format!("{SMALL}{more}")).map(|loaded| loaded.config.kind);
    assert_eq!(kind("kernel='guest'"), Ok(GuestKind::Embedded));
    assert_eq!(kind("kernel='/k'"), Ok(GuestKind::Pv));
    assert_eq!(kind("kernel='/k'\ntype='embedded'"), Ok(GuestKind::Embedded));
    assert_eq!(kind("type='pvh'"), Ok(GuestKind::Pvh));
    assert_eq!(kind("builder='hvm'"), Ok(GuestKind::Hvm));
    assert_eq!(kind("builder='generic'\ntype='pv'"), Ok(GuestKind::Pv));
    assert!(kind("builder='hvm'\ntype='pv'").is_err());
    assert!(kind("type='vm'").is_err());
}

#[test]
fn arguments_replace_settings() {
    let more = ["memory=128", "name=other", "extra=a=b c", "vif=['bridge=b']", "memry=1"].map(str::to_owned);
    let loaded = load("web.cfg", SMALL.as_bytes(), &more).unwrap();
    assert_eq!(
        (loaded.config.name.as_str(), loaded.config.memory_kib),
        ("other", 128 << 10)
    );
    assert_eq!(loaded.config.extra.as_deref(), Some("a=b c"));
    assert_eq!(loaded.config.bridges(), ["b"]);
    assert_eq!(
        loaded.warnings,
        ["argument 'memry=1': memry is not known and has no effect; is it memory?"]
    );
    for (wrong, expected) in [
        ("memory", "argument 'memory': expected KEY=VALUE"),
        ("=1", "argument '=1': expected KEY=VALUE"),
        (
            "memory=x",
            "argument 'memory=x': memory: found 'x', expected a whole number from 1 to 67108864",
        ),
        ("vif=['a", "argument 'vif=['a': this text is not closed on its line"),
    ] {
        assert_eq!(
            load("f", SMALL.as_bytes(), &[wrong.to_owned()])
                .unwrap_err()
                .to_string(),
            expected
        );
    }
}

#[test]
fn warnings_name_the_line() {
    let loaded = read(&format!(
        "{SMALL}vnc = True\n  memroy=1\nname = 'b'\nmaxmem=1\nramdisk='/i'\n"
    ))
    .unwrap();
    assert_eq!(loaded.config.name, "b");
    assert_eq!(
        loaded.warnings,
        [
            "web.cfg:5:1: name is set in line 1 already; this one counts",
            "web.cfg:6:8: maxmem: 1 MiB is less than memory; it becomes 64",
            "web.cfg:7:9: ramdisk: relocd does not load '/i'; the kernel must do without it",
            "web.cfg:3:1: vnc has no effect on this kind of guest",
            "web.cfg:4:3: memroy is not known and has no effect; is it memory?",
        ]
    );
}

#[test]
fn a_guest_that_was_to_be_kept_in_is_not_started_without() {
    for key in ["dm_restrict", "bootloader_restrict"] {
        let said = read(&format!("{SMALL}{key} = 1\n")).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("web.cfg:3:1: {key} is not known here")),
            "{said}"
        );
        for unset in ["0", "False", "None"] {
            assert!(read(&format!("{SMALL}{key} = {unset}\n")).is_ok());
        }
    }
}

#[test]
fn errors_name_the_place() {
    for (text, expected) in [
        ("", "web.cfg: name is missing; for example: name = \"web\""),
        ("name='a'", "web.cfg: memory is missing; for example: memory = 256"),
        (
            "name = web",
            "web.cfg:1:8: found 'web', expected a value: text in quotes, a number, or [a, list]",
        ),
        (
            "name = 'web\nmemory = 1",
            "web.cfg:1:8: this text is not closed on its line",
        ),
        ("\n  vif = [ 'a',\n", "web.cfg:2:9: this list is not closed"),
        ("vif = [ 'a' 'b' ]", "web.cfg:1:13: found ''', expected ',' or ']'"),
        ("import os", "web.cfg:1:8: found 'o', expected '=' after 'import'"),
        ("memory 5", "web.cfg:1:8: found '5', expected '=' after 'memory'"),
        (
            "memory =",
            "web.cfg:1:9: the file ends; expected a value: text in quotes, a number, or [a, list]",
        ),
        ("\u{0}", "web.cfg:1:1: found '\\x00', expected a key"),
        (
            "memory = 5 + 5",
            "web.cfg:1:12: found '+', expected the end of the line (expressions are not evaluated)",
        ),
        (
            "memory = 1.5",
            "web.cfg:1:10: '1.5': expected a whole number, or quotes around text",
        ),
        (
            "memory = 99999999999999999999",
            "web.cfg:1:10: '99999999999999999999': the number is too large",
        ),
        ("extra = '\\xg'", "web.cfg:1:12: \\x needs two hexadecimal digits"),
        (
            "name='a/b'",
            "web.cfg:1:6: name: found 'a/b', expected 1 to 255 bytes without control characters and without '/'",
        ),
        (
            "name='a'\nmemory=0",
            "web.cfg:2:8: memory: found '0', expected a whole number from 1 to 67108864",
        ),
        (
            "name='a'\nmemory=-5",
            "web.cfg:2:8: memory: found '-5', expected a whole number from 1 to 67108864",
        ),
        (
            "name=['a']",
            "web.cfg:1:6: name: found 'a list', expected text in quotes",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
    for more in [
        "memory=0256",
        "uuid='x'",
        "uuid='00000000-0000-0000-0000-000000000000'",
        "on_crash='maybe'",
        "vcpus=4097",
        "vif=5",
        "vif=[5]",
        "vif=['mac=1']",
        "vif=['bridge=a,bridge=b']",
        "vif=['x']",
        "disk=['a,b']",
        "disk=['a,b,x']",
        "disk=['format=raw,vdev=xvda,access=rw']",
    ] {
        let text = error(&format!(
            "name='a'\n{}{more}",
            if more.starts_with("memory") { "" } else { "memory=1\n" }
        ));
        assert!(text.starts_with("web.cfg:"), "{text}");
    }
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(error(&deep).contains("nested deeper than 16"));
    assert!(load("f", &vec![b' '; MAX_FILE + 1], &[]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = load("f", &bytes, &[]);
    }

    #[test]
    fn nearly_right_text_never_panics(text in "[nameoryvif=\\[\\]'\",;# \n\r\\\\x0-9-]{0,80}", argument in "[nametyvif=\\[\\]'\",x0-9]{0,20}") {
        let _ = load("f", text.as_bytes(), &[argument]);
    }

    #[test]
    fn quoted_text_comes_back(text in "[^\u{0}-\u{1f}\u{10ff80}-\u{10ffff}]{1,40}") {
        let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
        let loaded = read(&format!("{SMALL}extra = '{quoted}'")).unwrap();
        prop_assert_eq!(loaded.config.extra.unwrap(), text);
    }
}
