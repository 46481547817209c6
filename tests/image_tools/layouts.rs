//! Streams that real xends sent, compared with what a first reading of each found: its `.layout` file.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{captures::Capture, err, fed, json, out, tool};

/// The text behind a word, up to a blank or comma.
fn after<'a>(line: &'a str, word: &str) -> &'a str {
    let at = line.find(word).unwrap_or_else(|| panic!("no {word} in {line}")) + word.len();
    line[at..].split([' ', ',', ';']).next().unwrap()
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// The offset that a line begins with, if it does.
fn offset(line: &str) -> Option<(u64, &str)> {
    let (first, rest) = line.trim_start().split_once(' ')?;
    let first = first.split("..").next()?;
    first.starts_with("0x").then(|| (number(first), rest))
}

/// Compares each line of a layout with the report.
fn compare(layout: &str, report: &Value, name: &str) {
    let parts = report["parts"].as_array().unwrap();
    let part = |offset: u64| {
        let found = parts.iter().find(|part| part["offset"] == offset);
        found.unwrap_or_else(|| panic!("{name}: no part at {offset:#x}"))
    };
    let detail = |offset: u64| part(offset)["detail"].as_str().unwrap();
    let mut compared = 0;
    for line in layout.lines() {
        if let Some(bytes) = line.strip_prefix("total bytes ") {
            assert_eq!(report["bytes"], number(bytes), "{name}");
            compared += 1;
        }
        if let Some(types) = line.trim_start().strip_prefix("entry types over all iterations: ") {
            types_agree(types, report, name);
            compared += 1;
        }
        if line.trim_start().starts_with("distinct pfns seen") {
            let pages = &report["pages"];
            assert_eq!(pages["distinct"], number(after(line, "seen ")), "{name}");
            assert_eq!(pages["highest"], number(after(line, "max pfn ")), "{name}");
            assert_eq!(pages["again"], number(after(line, "more than once ")), "{name}");
            compared += 1;
        }
        let Some((at, what)) = offset(line) else { continue };
        compared += 1;
        let hex = |word: &str| number(after(what, word));
        if what.contains("memory batches") {
            let count = number(what.split(' ').next().unwrap());
            assert_eq!(part(at)["count"], count, "{name}: {line}");
            let entries = hex("pfn entries ");
            assert!(
                detail(at).starts_with(&format!("{entries} pages, round ")),
                "{name}: {line}: {}",
                detail(at)
            );
            let end = number(line.trim_start().split("..").nth(1).unwrap().split(' ').next().unwrap());
            assert_eq!(part(at)["bytes"], end - at, "{name}: {line}");
        } else if what.contains("TSC_INFO") {
            let tsc = &report["image"]["tsc"];
            assert_eq!(tsc["mode"], hex("mode="));
            assert_eq!(tsc["nsec"], hex("nsec="));
            assert_eq!(tsc["khz"], hex("khz="));
            assert_eq!(tsc["incarnation"], hex("incarn="));
        } else if what.contains("extended vcpu context") {
            assert_eq!(detail(at), format!("{} bytes in use", hex("size=")), "{name}");
        } else if what.contains(" context, 5168 bytes") {
            let id = hex("vcpu ");
            let vcpu = &report["image"]["vcpus"][id as usize];
            assert_eq!((&vcpu["id"], &vcpu["context"]), (&Value::from(id), &Value::from(5168)));
            assert_eq!(vcpu["ip"], hex("rip="));
            assert_eq!(vcpu["gdt_entries"], hex("gdt_ents="));
            assert_eq!(vcpu["cr3"], hex("cr3=") >> 12);
            let cr1 = hex("cr1=");
            let user = if cr1 & 1 == 1 {
                Value::from(cr1 >> 12)
            } else {
                Value::Null
            };
            assert_eq!(vcpu["cr1"], user);
            if id == 0 {
                assert_eq!(vcpu["start_info"], hex("(start_info pfn)="));
            }
            assert_eq!(part(at)["name"], format!("context of vcpu {id}"));
        } else if what.contains("xsave mask") {
            assert_eq!(
                detail(at),
                format!("features {}, {} bytes", after(what, "mask="), hex("size="))
            );
        } else if what.starts_with("tail: ") {
            assert_eq!(report["image"]["unmapped"], hex("tail: "), "{name}");
            assert_eq!(part(at)["name"], "unmapped pages");
        } else if what.starts_with("p2m_size") {
            assert_eq!(report["image"]["p2m_size"], hex("= "), "{name}");
            part(at);
        } else if what.starts_with("p2m_frame_list") {
            assert_eq!(report["image"]["p2m_frames"], hex("p2m_frame_list: "), "{name}");
            assert_eq!(part(at)["name"], "p2m frames");
        } else if what.starts_with("block ") {
            let id = what.split('\'').nth(1).unwrap();
            assert_eq!(part(at)["name"], format!("block {id}"), "{name}");
            assert_eq!(part(at)["bytes"], 8 + hex("size "), "{name}");
        } else if what.starts_with("chunk ") {
            let id = after(what, "chunk ");
            assert!(
                part(at)["name"].as_str().unwrap().starts_with(&format!("chunk {id} ")),
                "{name}: {line}"
            );
        } else if what.starts_with("config sxp") {
            assert_eq!(report["config"]["offset"], at);
        } else if what.contains("end of libxc stream") {
            assert_eq!(report["bytes"], at, "{name}");
        } else {
            let known = [
                "signature",
                "config length",
                "start of libxc",
                "extended-info",
                "body",
                "terminator",
                "shared info",
            ];
            let word = known.iter().find(|word| what.contains(**word));
            assert!(word.is_some(), "{name}: a line that is not compared: {line}");
            // The beginnings of things have parts as well.
            if !what.contains("body") && !what.contains("start of") {
                part(if what.contains("config length") { 16 } else { at });
            }
        }
    }
    assert!(compared > 15, "{name}: only {compared} lines were compared");
}

/// `{'NOTAB': 8204, 'PIN|L4': 5}`
fn types_agree(types: &str, report: &Value, name: &str) {
    let types = types.trim_matches(['{', '}']).split(", ").map(|pair| {
        let (kind, count) = pair.split_once(": ").unwrap();
        let kind = kind.trim_matches('\'');
        let kind = if kind.starts_with("PIN") {
            format!("{kind}TAB")
        } else {
            kind.to_owned()
        };
        (kind, number(count))
    });
    let shown = report["pages"]["types"].as_array().unwrap().iter();
    let shown = shown.map(|known| {
        (
            known["name"].as_str().unwrap().to_owned(),
            known["entries"].as_u64().unwrap(),
        )
    });
    assert_eq!(
        shown.collect::<BTreeMap<_, _>>(),
        types.collect::<BTreeMap<_, _>>(),
        "{name}"
    );
}

#[test]
fn captures_are_shown_as_their_layouts_say_and_right() {
    for capture in Capture::all("captures_are_shown_as_their_layouts_say_and_right")
        .into_iter()
        .flatten()
    {
        let name = &capture.name;
        let shown = fed(&["show", "--json", "-"], capture.stream());
        assert!(shown.status.success(), "{name}: {}", err(&shown));
        let report = json(&shown);
        let layout = capture.beside("layout");
        compare(&layout, &report, name);
        let restarts = layout
            .lines()
            .filter(|line| line.contains("pfn numbers restart"))
            .count();
        assert_eq!(report["rounds"].as_array().unwrap().len(), restarts + 1, "{name}");
        assert_eq!(report["findings"], Value::Array(Vec::new()), "{name}");
        assert_eq!(
            report["config"]["text"].as_str().unwrap().trim_end(),
            capture.beside("sxp").trim_end(),
            "{name}"
        );
        let verified = fed(&["verify", "-"], capture.stream());
        assert!(verified.status.success(), "{name}: {}", out(&verified));
    }
}

#[test]
fn captures_are_converted_and_right() {
    let directory = tempfile::tempdir().unwrap();
    for capture in Capture::all("captures_are_converted_and_right").into_iter().flatten() {
        let name = &capture.name;
        let file = directory.path().join(name);
        let made = fed(&["convert", "-", file.to_str().unwrap()], capture.stream());
        assert!(made.status.success(), "{name}: {}", err(&made));
        let verified = tool(&["verify"]).arg(&file).output().unwrap();
        assert!(verified.status.success(), "{name}: {}", out(&verified));
        // From a file the same.
        let (stream, again) = (file.with_extension("xend"), file.with_extension("again"));
        fs::write(&stream, capture.stream()).unwrap();
        let made = tool(&["convert"]).args([&stream, &again]).output().unwrap();
        assert!(made.status.success(), "{name}: {}", err(&made));
        assert!(
            fs::read(&again).unwrap() == fs::read(&file).unwrap(),
            "{name}: another file"
        );
        for file in [stream, again] {
            fs::remove_file(file).unwrap();
        }
        let old = json(&fed(&["show", "--json", "-"], capture.stream()));
        let new = json(&tool(&["show", "--json"]).arg(&file).output().unwrap());
        for what in ["distinct", "again", "highest", "entries", "with_data", "types"] {
            assert_eq!(old["pages"][what], new["pages"][what], "{name}: {what}");
        }
        assert_eq!(old["image"]["tsc"], new["image"]["tsc"], "{name}");
        assert_eq!(
            old["rounds"].as_array().unwrap().len(),
            new["rounds"].as_array().unwrap().len(),
            "{name}"
        );
        assert_eq!(new["config"]["language"], "xl-cfg", "{name}");
        fs::remove_file(&file).unwrap();
    }
}
