use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern)
        .unwrap_or_else(|error| panic!("{pattern}: {error}"))
        .matches(text)
}

fn refused(pattern: &str) -> String {
    match Pattern::new(pattern) {
        Ok(_) => panic!("{pattern} is taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn anchored_at_the_start_only() {
    assert!(matches("10.1.2.3", "10.1.2.30"));
    assert!(matches("a|b", "bx"));
    assert!(!matches("a|b", "xa"));
    assert!(!matches("b$", "ab"));
    assert!(matches("", "x"));
    assert!(matches("^a$", "a"));
}

#[test]
fn what_differs_between_the_dialects() {
    for (pattern, text, expected) in [
        (r"host\Z", "host", true),
        (r"host\Z", "hosts", false),
        (r"a{", "a{", true),
        (r"a{}", "a{}", true),
        (r"a{x}", "a{x}", true),
        (r"a{,2}b", "aab", true),
        (r"a{,2}b", "aaab", false),
        (r"a{1,2,3}", "a{1,2,3}", true),
        (r"a}]", "a}]", true),
        (r"[[]x", "[x", true),
        (r"[]]x", "]x", true),
        (r"[^]]x", "ax", true),
        (r"[a&&b]x", "&x", true),
        (r"[a~~b]x", "~x", true),
        (r"[[:alpha:]]", ":]", true),
        (r"[[:alpha:]]", "b", false),
        (r"[a-]x", "-x", true),
        (r"[\w-]x", "-x", true),
        (r"[\b]", "\x08", true),
        (r"\l\p", "lp", true),
        (r"\056", ".", true),
        (r"\0", "\0", true),
        (r"\101", "A", true),
        (r"[\101]", "A", true),
        (r"\x2E", ".", true),
        (r"\/\-\@", "/-@", true),
        (r"a(?i)", "A", true),
        (r"(?i)(?m)a", "A", true),
        (r"(?Lu)a", "a", true),
        (r"(?#note)a", "a", true),
        (r"(?P<name>a)+", "aa", true),
        (r"a+?b", "aab", true),
        (r"a{2}?", "aa", true),
        (r"<>&~#- ", "<>&~#- ", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} on {text:?}");
    }
}

#[test]
fn bytes_beyond_ascii() {
    let text = sxp::text_from_bytes(b"caf\xe9");
    assert!(!matches(&text, "caf\u{e9}"));
    assert!(matches("caf\u{e9}$", "caf\u{e9}"));
    assert!(!matches("^.$", "\u{e9}"));
}

#[test]
fn refused_by_name_and_place() {
    for (pattern, what) in [
        ("a(?=b)", "character 2: (?= is look-ahead, which is not supported"),
        ("(?!b)", "character 1: (?! is look-ahead, which is not supported"),
        ("(?<=b)", "character 1: (?< is look-behind, which is not supported"),
        ("(?<!b)", "character 1: (?< is look-behind, which is not supported"),
        (r"(a)\1", "character 4: a back-reference, which is not supported"),
        (r"(a)\12", "character 4: a back-reference, which is not supported"),
        (
            "(?P<n>a)(?P=n)",
            "character 9: (?P= is a back-reference, which is not supported",
        ),
        (
            "(a)?(?(1)b|c)",
            "character 5: (?( is a conditional, which is not supported",
        ),
        ("(?>a)", "character 1: (?> is an atomic group, which is not supported"),
        ("(?<n>a)", "character 1: unknown kind of group"),
        ("(?-u)a", "character 1: unknown kind of group"),
        ("(?i:a)", "character 1: unknown kind of group"),
        ("(?)", "character 1: unknown kind of group"),
        ("(?", "character 1: unknown kind of group"),
        ("(?x)a", "character 1: the flag x is not supported"),
        ("*", "character 1: nothing to repeat"),
        ("^*", "character 2: nothing to repeat"),
        ("a**", "character 3: repeated twice"),
        ("a++", "character 3: repeated twice"),
        ("a{3,2}", "character 2: the least count is above the greatest"),
        ("(a", "character 1: this ( is not closed"),
        ("a)", "character 2: this ) closes nothing"),
        ("[a", "character 1: this [ is not closed"),
        ("[]", "character 1: this [ is not closed"),
        ("[b-a]", "character 2: bad range of characters"),
        (r"[\d-a]", "character 2: bad range of characters"),
        ("a\\", "character 2: a backslash at the end"),
        (r"\x4", "character 1: \\x needs two hexadecimal digits"),
        ("(?P<1>a)", "character 1: the group's name is not a name"),
        (
            "a{99999999999}",
            "takes too much memory: fewer or smaller repetitions are needed",
        ),
        (
            "((a{99}){99}){99}",
            "takes too much memory: fewer or smaller repetitions are needed",
        ),
    ] {
        assert_eq!(refused(pattern), what, "{pattern}");
    }
    refused(&"(".repeat(1000));
    refused(&format!("{}{}", "(".repeat(500), ")".repeat(500)));
    refused(&"a".repeat(3000));
}

#[test]
fn closed_means_every_way() {
    for (pattern, closed) in [
        ("a$", true),
        (r"a\Z", true),
        (r"a\$", false),
        ("a[$]", false),
        ("a$|b", false),
        ("a|b$", false),
        ("a$|b$", true),
        ("(a|b)$", true),
        ("(a$|b$)", true),
        ("(a$|b)", false),
        ("(a$)?", false),
        ("a", false),
        ("", false),
        ("a(?#c)$(?i)", true),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap().closed, closed, "{pattern}");
    }
}
