use proptest::prelude::*;

use super::*;

fn list(text: &str) -> AllowList {
    let (list, said) = AllowList::read(text);
    assert!(
        said.iter().all(|(severity, _)| *severity != Severity::Error),
        "{text}: {said:?}"
    );
    list
}

fn said(text: &str) -> Vec<String> {
    AllowList::read(text)
        .1
        .into_iter()
        .map(|(severity, what)| format!("{severity}: {what}"))
        .collect()
}

fn lets_in(list: &AllowList, address: &str, names: &[&str]) -> bool {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    matches!(list.check(address.parse().unwrap(), &names), Verdict::Allowed { .. })
}

#[test]
fn the_default_is_localhost() {
    let list = AllowList::default();
    assert!(lets_in(&list, "127.0.0.1", &[]));
    assert!(lets_in(&list, "127.0.0.2", &[]));
    assert!(lets_in(&list, "::1", &[]));
    assert!(lets_in(&list, "::ffff:127.0.0.1", &[]));
    assert!(!lets_in(&list, "10.0.0.1", &["localhost"]));
    assert!(!list.needs_names());
}

#[test]
fn the_shipped_list_needs_no_names() {
    let list = list(r"^localhost$ ^localhost\.localdomain$");
    for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(lets_in(&list, address, &[]), "{address}");
    }
    assert!(!lets_in(&list, "10.0.0.1", &[]));
    assert!(!list.needs_names());
    assert!(said(r"^localhost$ ^localhost\.localdomain$").is_empty());
    // Open at its end it is other hosts' as well.
    let (open, _) = AllowList::read("^localhost");
    assert!(open.needs_names() && lets_in(&open, "127.0.0.1", &[]));
    assert!(lets_in(&open, "10.0.0.1", &["localhost.example.com"]));
    let (not_quite, _) = AllowList::read("^localhosts$");
    assert!(!lets_in(&not_quite, "127.0.0.1", &[]));
}

#[test]
fn networks_match_exactly() {
    let list = list("10.1.2.3 192.168.4.0/22 fd00::/8 ::ffff:172.16.0.0/108");
    for (address, expected) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.1.2.30", false),
        ("192.168.7.255", true),
        ("192.168.8.0", false),
        ("fd12::1", true),
        ("fe80::1", false),
        ("172.31.0.1", true),
        ("172.32.0.1", false),
    ] {
        assert_eq!(lets_in(&list, address, &[]), expected, "{address}");
    }
    assert!(!list.needs_names());
    assert_eq!(
        said("10.0.0.5/8"),
        ["warning: entry 1 '10.0.0.5/8': has bits beyond its prefix; it is taken as 10.0.0.0/8"]
    );
    for text in [
        "10.0.0.0/33",
        "10.0.0/24",
        "10.0.0.0/255.255.255.0",
        "fd00::/129",
        "1:2:3",
    ] {
        assert_eq!(
            said(text),
            [format!(
                "error: entry 1 '{text}': looks like an address or network, but is none"
            )]
        );
    }
}

#[test]
fn patterns_match_addresses_and_names() {
    let list = list(r"^10\.0\.0\.[0-9]+$ ^.*\.example\.com$");
    let check = |address: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        list.check(address.parse().unwrap(), &names)
    };
    assert_eq!(
        check("::ffff:10.0.0.7", &[]),
        Verdict::Allowed {
            entry: r"^10\.0\.0\.[0-9]+$".to_owned(),
            by: AllowedBy::Address
        }
    );
    assert_eq!(
        check("9.9.9.9", &["other.org", "a.example.com"]),
        Verdict::Allowed {
            entry: r"^.*\.example\.com$".to_owned(),
            by: AllowedBy::Name("a.example.com".to_owned())
        }
    );
    assert_eq!(check("9.9.9.9", &["a.example.com.evil.org"]), Verdict::Refused);
    assert_eq!(check("9.9.9.9", &[]), Verdict::Refused);
    assert!(list.needs_names());
}

#[test]
fn empty_entries_match_nothing() {
    for text in ["^a$ ", " ^a$", "^a$  ^b$"] {
        let (list, said) = AllowList::read(text);
        assert!(!lets_in(&list, "9.9.9.9", &["c"]), "{text:?}");
        assert_eq!(said.len(), 1, "{text:?}: {said:?}");
        assert!(said[0].1.contains("is empty"));
    }
    let (blank, said) = AllowList::read(" ");
    assert!(!lets_in(&blank, "127.0.0.1", &["localhost"]));
    assert_eq!(said.last().unwrap().1, "no entry: nobody is let in");
}

#[test]
fn everyone() {
    let (list, said) = AllowList::read("");
    assert!(list.is_everyone() && lets_in(&list, "9.9.9.9", &[]) && !list.needs_names());
    assert_eq!(said.len(), 1);
}

#[test]
fn traps_are_told() {
    assert_eq!(
        said("^host"),
        ["warning: entry 1 '^host': has no closing $: it also matches whatever begins like it"]
    );
    assert_eq!(
        said("^a$ ^b(?=c)$")[0],
        "error: entry 2 '^b(?=c)$': character 3: (?= is look-ahead, which is not supported"
    );
    assert!(said("^a$\t^b$")[0].contains("control character"));
    assert!(
        said(&"a$ ".repeat(1100))
            .iter()
            .any(|line| line.contains("more than 1024 regular expressions"))
    );
}

proptest! {
    #[test]
    fn any_text_is_read_and_checked(text in "[ -~\t]{0,60}|.{0,40}", name in ".{0,20}", address: [u8; 16]) {
        let (list, _) = AllowList::read(&text);
        let _ = list.check(IpAddr::from(address), std::slice::from_ref(&name));
        let _ = list.check(IpAddr::from([address[0], address[1], address[2], address[3]]), &[name]);
    }

    #[test]
    fn regular_expressions_of_any_kind(text in r"[\[\]()?P<>=!:|{},0-9^$*+.\\abdwZ# -]{0,40}", name in "[ab0.]{0,8}") {
        let (list, _) = AllowList::read(&text);
        let _ = list.check(IpAddr::from([10, 0, 0, 1]), &[name]);
    }

    #[test]
    fn without_an_entry_for_it_nobody_is_let_in(text in r"(\^[a-z]{1,5}\$| ){1,10}", address: [u8; 4]) {
        let (list, _) = AllowList::read(&text);
        prop_assume!(!list.is_everyone());
        prop_assert_eq!(list.check(IpAddr::from(address), &["UPPER".to_owned()]), Verdict::Refused);
    }
}

#[test]
fn expressions_for_addresses_match_no_names() {
    for text in [r"^10\.1\.", r"^10\.1\..*$", r"^192\.168\.\d+\.[0-9]+$"] {
        let (list, _) = AllowList::read(text);
        assert!(
            !lets_in(&list, "127.9.9.9", &["10.1.2.evil.example.com", "192.168.1.1"]),
            "{text}"
        );
        assert!(!list.needs_names(), "{text}");
        assert!(list.entries()[0].is_pattern(), "{text}: a firewall has no rule for it");
    }
    let (list, _) = AllowList::read(r"^10\.1\.");
    assert!(lets_in(&list, "10.1.2.3", &[]));
}
