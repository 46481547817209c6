//! What comes with the program agrees with it: README, sample configuration, unit, man pages, completions; and what the service manager hears.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use clap::CommandFactory;
use nix::sys::signal::Signal;
use relocd::cli::{Cli, DEFAULT_CONFIG, DEFAULT_STATE};
use support::{Host, PATIENCE, RELOCD, text};

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The keys of relocd's own in a text. A demo's directory is none.
fn own_keys(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        .filter(|word| word.starts_with("relocd-") && !word.starts_with("relocd-demo-"))
        .collect()
}

#[test]
fn readme_and_sample_name_every_key_and_no_other() {
    let known: BTreeSet<&str> = config::keys()
        .iter()
        .map(|key| key.name)
        .filter(|name| name.starts_with("relocd-"))
        .collect();
    for file in ["README.md", "config/xend-config.sxp"] {
        assert_eq!(own_keys(&read(file)), known, "{file}");
    }
    // Of keys that act, the defaults as well.
    let readme = read("README.md");
    for key in config::keys().iter().filter(|key| key.acts) {
        let Some(row) = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", key.name)))
        else {
            assert!(!known.contains(key.name), "README has no row for {}", key.name);
            continue;
        };
        let default = match key.default {
            None => "unset".to_owned(),
            Some("") => "`''`".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        assert_eq!(row.split('|').nth(2).map(str::trim), Some(default.as_str()), "{row}");
    }
}

#[test]
fn the_sample_is_sound() {
    let file = project("config/xend-config.sxp");
    let output = Command::new(RELOCD).arg("check-config").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", text(&output));
}

/// The commands in a text of Markdown: of code in lines and of indented blocks, what begins with a program's name.
fn commands(markdown: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in markdown.lines() {
        let pieces: Vec<&str> = match line.strip_prefix("    ") {
            Some(line) => vec![line],
            None => line.split('`').skip(1).step_by(2).collect(),
        };
        // What a guest says in the demo is no command, nor are boxes.
        let is_other = |piece: &&str| {
            ["A |", "B |", "|"]
                .iter()
                .any(|begin| piece.trim_start().starts_with(begin))
        };
        for piece in pieces.into_iter().filter(|piece| !is_other(piece)) {
            let piece = piece.replace("cargo run --release --bin relocd --", "relocd");
            // A prompt, and what is before it.
            let piece = piece
                .split_once("# ")
                .filter(|(host, _)| !host.contains(' '))
                .map_or(piece.as_str(), |(_, command)| command);
            // Such as `... -p PORT`, below `xm migrate`.
            let piece = piece.replacen("... -", "xm migrate -", 1);
            for command in piece.split(['|', ';', '&', '>']) {
                let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
                if matches!(words.first().map(String::as_str), Some("relocd" | "xm")) && words.len() > 1 {
                    found.push(words);
                }
            }
        }
    }
    found
}

fn built(mut command: clap::Command) -> clap::Command {
    command.build();
    command
}

/// A command, and all below it that are shown.
fn with_subcommands(command: &clap::Command) -> Vec<&clap::Command> {
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help");
    std::iter::once(command)
        .chain(shown.flat_map(with_subcommands))
        .collect()
}

/// Whether a command has an option that is spelt so, as `--long` or `-s`.
fn has_option(command: &clap::Command, option: &str) -> bool {
    command.get_arguments().any(|argument| match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short() == option.chars().nth(1),
    })
}

#[test]
fn every_command_in_readme_exists() {
    let readme = read("README.md");
    let (relocd, xm) = (built(Cli::command()), built(xm::command()));
    let mut seen = BTreeSet::new();
    for words in commands(&readme) {
        let program = if words[0] == "xm" { &xm } else { &relocd };
        let command = match words[1].as_str() {
            first if first.starts_with('-') => program,
            first => {
                let name = first.trim_end_matches(',');
                seen.insert(format!("{} {name}", words[0]));
                let missing = || -> ! { panic!("README has: {}", words.join(" ")) };
                let command = program.find_subcommand(name).unwrap_or_else(|| missing());
                match words.get(2).map(|word| word.trim_end_matches(',')) {
                    Some(word) if command.has_subcommands() => {
                        seen.insert(format!("{} {name} {word}", words[0]));
                        command.find_subcommand(word).unwrap_or_else(|| missing())
                    }
                    _ => command,
                }
            }
        };
        for option in words.iter().map(|word| word.trim_matches(['[', ']'])) {
            if option.starts_with('-') && option != "-" {
                assert!(has_option(command, option), "README has: {}", words.join(" "));
            }
        }
    }
    // Options that stand alone.
    let all: Vec<&clap::Command> = [&relocd, &xm].into_iter().flat_map(with_subcommands).collect();
    for span in readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.starts_with("--"))
    {
        let option = span.split_whitespace().next().unwrap_or_default();
        assert!(
            all.iter().any(|command| has_option(command, option)),
            "README has the option {option}"
        );
    }
    // And nothing is missing there.
    for (name, program) in [("relocd", &relocd), ("xm", &xm)] {
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let full = format!("{name} {}", command.get_name());
            let of_no_interest = matches!(full.as_str(), "relocd help" | "xm help" | "xm man");
            let within = command.get_subcommands().filter(|other| other.get_name() != "help");
            let within = within.map(|other| format!("{full} {}", other.get_name()));
            for full in within.chain([full.clone()]) {
                assert!(
                    of_no_interest || seen.contains(&full),
                    "README does not mention: {full}"
                );
            }
        }
    }
}

/// The values of a setting of a unit.
fn unit_values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let values = unit.lines().filter_map(|line| line.split_once('='));
    values.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

#[test]
fn the_unit_agrees_with_the_defaults() {
    use clap::Parser;
    let unit = read("systemd/relocd.service");
    let tmpfiles = read("systemd/tmpfiles.d/relocd.conf");
    let one = |name: &str| match unit_values(&unit, name)[..] {
        [value] => value,
        ref other => panic!("{name}: {other:?}"),
    };
    let words: Vec<&str> = one("ExecStart").split_whitespace().collect();
    assert_eq!(words[0], "/usr/sbin/relocd");
    let cli = Cli::try_parse_from(&words).unwrap();
    assert!(cli.command.is_none());
    let state = Path::new("/var/lib").join(one("StateDirectory"));
    let runtime = Path::new("/run").join(one("RuntimeDirectory"));
    assert_eq!(cli.daemon.state_dir, state);
    assert_eq!(cli.daemon.control.parent(), Some(runtime.as_path()));
    assert_eq!(Path::new(DEFAULT_STATE), state);
    let key = config::keys().iter().find(|key| key.name == "relocd-spool-directory");
    let spool = PathBuf::from(key.unwrap().default.unwrap());
    assert_eq!(spool, state.join("spool"));
    for directory in [&state, &runtime, &spool] {
        let line = format!("d {} 0700 root root -", directory.display());
        assert!(tmpfiles.lines().any(|other| other == line), "no line: {line}");
    }
    for name in ["StateDirectoryMode", "RuntimeDirectoryMode"] {
        assert_eq!(one(name), "0700");
    }
    // Domains outlive the daemon.
    assert_eq!(one("KillMode"), "process");
    assert_eq!(one("OOMPolicy"), "continue");
    assert_eq!(one("RestartPreventExitStatus"), "78");
    // README's table of the daemon's options.
    let readme = read("README.md");
    for (option, default) in [
        ("--config", DEFAULT_CONFIG),
        ("--toolstack", "auto"),
        ("--state-dir", DEFAULT_STATE),
        ("--control", peer::control::DEFAULT_SOCKET),
    ] {
        assert!(
            readme.contains(&format!("| `{option}` | `{default}` |")),
            "{option} {default}"
        );
    }
}

#[test]
fn man_pages_and_completions_have_every_option() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(RELOCD)
        .args(["man", "--output"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for (section, program) in [("8", built(Cli::command())), ("1", built(xm::command()))] {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut program.clone(), &name, &mut script);
        let script = String::from_utf8(script).unwrap();
        let page = |name: &str| {
            let path = directory.path().join(format!("man{section}/{name}.{section}"));
            // roff writes a hyphen as \-.
            fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .replace("\\-", "-")
        };
        for command in with_subcommands(&program) {
            // The display name of a command in others is made of all their names.
            let page_name = command.get_display_name().unwrap_or(&name).to_owned();
            assert!(page_name == name || page_name.starts_with(&format!("{name}-")));
            let page = page(&page_name);
            assert!(page.contains(&format!(".TH {page_name} {section}")), "{page}");
            for long in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{long}")), "{page_name}: no --{long}\n{page}");
                assert!(
                    script.contains(&format!("--{long}")),
                    "{name}: no completion of --{long}"
                );
            }
        }
    }
    let plain = Command::new(RELOCD).arg("man").output().unwrap();
    let page = fs::read(directory.path().join("man8/relocd.8")).unwrap();
    assert!(plain.status.success() && plain.stdout == page);
}

/// Waits for a message to the service manager that holds this line.
fn hear(manager: &UnixDatagram, line: &str) -> String {
    let begun = Instant::now();
    let mut bytes = [0; 4096];
    while begun.elapsed() < PATIENCE {
        let Ok(count) = manager.recv(&mut bytes) else { break };
        let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if message.lines().any(|other| other == line) {
            return message;
        }
    }
    panic!("the service manager does not hear {line}");
}

#[test]
fn the_service_manager_hears_all_of_it() {
    let mut host = Host::prepare("");
    let path = host.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    host.run_with(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")]);
    let ready = hear(&manager, "READY=1");
    let status = format!("STATUS=listening for relocations on {}:{}", host.address, host.port);
    assert!(ready.lines().any(|line| line == status), "{ready}");
    for _ in 0..3 {
        hear(&manager, "WATCHDOG=1");
    }
    host.signal(Signal::SIGHUP);
    let reloading = hear(&manager, "RELOADING=1");
    let moment = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        moment.is_some_and(|moment| moment.parse::<u64>().is_ok()),
        "{reloading}"
    );
    hear(&manager, "READY=1");
    // One that fails ends as well: the manager waits for that.
    fs::write(host.path("xend-config.sxp"), "(xend-relocation-port oops)").unwrap();
    host.signal(Signal::SIGHUP);
    hear(&manager, "RELOADING=1");
    let ready = hear(&manager, "READY=1");
    assert!(ready.lines().any(|line| line == status), "{ready}");
    host.signal(Signal::SIGTERM);
    hear(&manager, "STOPPING=1");
    assert_eq!(host.ended(), Some(0));
}
