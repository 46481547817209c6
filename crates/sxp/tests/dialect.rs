//! The dialect against pairs that the historical parser produced (xend 4.0 to 4.4), and the properties of the codec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use sxp::{Limits, Reader, Sexp, atom, from_sexp, read_all, to_bytes, to_sexp};

fn l(items: &[Sexp]) -> Sexp {
    Sexp::List(items.to_vec())
}

/// Feeds bytes in pieces of `size`, without an end of input.
fn stream(input: &[u8], size: usize) -> Result<Vec<Sexp>, String> {
    let mut reader = Reader::new(Limits::default());
    let mut values = Vec::new();
    for mut piece in input.chunks(size) {
        while !piece.is_empty() {
            let (used, value) = reader.feed(piece).map_err(|error| error.to_string())?;
            values.extend(value);
            piece = &piece[used..];
        }
    }
    Ok(values)
}

fn file(input: &[u8]) -> Result<Vec<Sexp>, String> {
    let values = read_all(input, Limits::default()).map_err(|error| error.to_string())?;
    Ok(values.iter().map(sxp::Spanned::to_sexp).collect())
}

#[test]
fn pairs_of_the_historical_parser() {
    let a = atom;
    // Input, values of the stream, values of the file.
    let both: Vec<(&[u8], Vec<Sexp>)> = vec![
        (b"receive\n", vec![a("receive")]),
        (b"(a(b)c)", vec![l(&[a("a"), l(&[a("b")]), a("c")])]),
        (b"(a 'b c' \"d e\")", vec![l(&[a("a"), a("b c"), a("d e")])]),
        (b"(a b)(c d)", vec![l(&[a("a"), a("b")]), l(&[a("c"), a("d")])]),
        (b"a b\nc\n", vec![a("a"), a("b"), a("c")]),
        (b"(a #comment )\n b)", vec![l(&[a("a"), a("b")])]),
        (b"# only\n", vec![]),
        (b"(a;b)", vec![l(&[a("a"), a(";b")])]),
        (
            b"(a {b} [c] <d>)",
            vec![l(&[a("a"), a("{b"), a("}"), a("[c"), a("]"), a("<d"), a(">")])],
        ),
        (b"(a!b)", vec![l(&[a("a!b")])]),
        (b"(a b'c d')", vec![l(&[a("a"), a("b'c"), a("d'")])]),
        (br"'it\'s'", vec![a("it's")]),
        (br"'x\x41y'", vec![a("xAy")]),
        (br"'\101'", vec![a("A")]),
        (br"'\18'", vec![a("\u{1}8")]),
        (
            br"'^localhost$ ^localhost\\.localdomain$'",
            vec![a(r"^localhost$ ^localhost\.localdomain$")],
        ),
        (br"'^localhost\.localdomain$'", vec![a(r"^localhost\localdomain$")]),
        (b"'a\nb'", vec![a("a\nb")]),
        (b"()", vec![l(&[])]),
        (b"(a '' b)", vec![l(&[a("a"), a(""), a("b")])]),
        (b"a\"b\n", vec![a("a\"b")]),
        (b"(a \"b\"c)", vec![l(&[a("a"), a("b"), a("c")])]),
        (b"'a''b'\n", vec![a("a"), a("b")]),
        (b"a#b\n", vec![a("a")]),
        (b"'a#b'", vec![a("a#b")]),
        (b"(a 'caf\xc3\xa9')", vec![l(&[a("a"), a("café")])]),
        (b"\x04", vec![]),
        (b"(a,b=c)", vec![l(&[a("a,b=c")])]),
        (b"[a]\n", vec![a("[a"), a("]")]),
    ];
    for (input, values) in both {
        for size in 1..=input.len() {
            assert_eq!(
                stream(input, size),
                Ok(values.clone()),
                "stream {:?} by {size}",
                String::from_utf8_lossy(input)
            );
        }
        assert_eq!(file(input), Ok(values), "file {:?}", String::from_utf8_lossy(input));
    }
    // Where the two differ, or fail.
    assert_eq!(stream(b"receive", 3), Ok(vec![]));
    assert_eq!(file(b"receive"), Ok(vec![a("receive")]));
    for input in [&b")"[..], b"(a))"] {
        assert_eq!(stream(input, 1).unwrap_err(), "syntax error: )");
        assert_eq!(file(input).unwrap_err(), "syntax error: )");
    }
    for (input, code) in [(&b"\x01"[..], 1), (b"\xc3\xa9", 195), (b"\x00", 0)] {
        assert_eq!(file(input).unwrap_err(), format!("invalid character: code {code}"));
    }
    for input in [&br"'x\x4'"[..], br"'\777'"] {
        assert!(stream(input, 1).is_err() && file(input).is_err());
    }
    for input in [&b"(a"[..], b"(a ", b"'abc", b"(a 'b"] {
        assert_eq!(stream(input, 1), Ok(vec![]));
        assert!(file(input).unwrap_err().starts_with("unexpected EOF"));
    }
    assert_eq!(stream(b"a\x04", 1), Ok(vec![]));
    assert_eq!(file(b"a\x04"), Ok(vec![a("a\u{4}")]));
}

#[test]
fn what_follows_a_value_is_left_alone() {
    let mut reader = Reader::new(Limits::default());
    assert_eq!(
        reader.feed(b"receive\nLinuxGuestRecord").unwrap(),
        (7, Some(atom("receive")))
    );
    let mut reader = Reader::new(Limits::default());
    assert_eq!(reader.feed(b"(commit)\nmore").unwrap().0, 8);
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let mut reader = Reader::new(Limits {
        max_bytes: 1000,
        max_depth: 10,
        ..Limits::default()
    });
    let error = (0..).find_map(|_| reader.feed(&[b'a'; 64]).err()).unwrap();
    assert!(error.is_limit(), "{error}");
    let mut reader = Reader::new(Limits {
        max_bytes: 1000,
        max_depth: 10,
        ..Limits::default()
    });
    let error = reader.feed(&[b'('; 10_000]).unwrap_err();
    assert_eq!(error.to_string(), "lists nested deeper than 10");
    for many in [
        "(a b c d e f g h i j)",
        "('\\.\\.\\.\\.\\.\\.\\.\\.\\.\\.')",
        "(()()()()()()()()()())",
    ] {
        let mut reader = Reader::new(Limits {
            max_parts: 10,
            ..Limits::default()
        });
        let error = reader.feed(many.as_bytes()).unwrap_err();
        assert!(error.is_limit(), "{many}: {error}");
        assert_eq!(error.to_string(), "a value of more than 10 parts");
    }
    // The limits are for each value, not for the connection.
    let mut reader = Reader::new(Limits {
        max_bytes: 8,
        max_depth: 1,
        max_parts: 2,
    });
    for _ in 0..1000 {
        assert_eq!(reader.feed(b"(a)").unwrap().0, 3);
    }
}

#[test]
fn places_are_those_of_an_editor() {
    let values = read_all(b"# x\n(a\n  'b\\.c')\n", Limits::default()).unwrap();
    let sxp::SpannedKind::List(list) = &values[0].kind else {
        panic!("a list")
    };
    assert_eq!((values[0].position.line, values[0].position.column), (2, 1));
    assert_eq!((list[1].position.line, list[1].position.column), (3, 3));
    let sxp::SpannedKind::Atom { dropped, quoted, .. } = &list[1].kind else {
        panic!("an atom")
    };
    assert!(quoted);
    assert_eq!((dropped[0].line, dropped[0].column), (3, 5));
    let error = read_all(b"(ok)\n  (a (b)", Limits::default()).unwrap_err();
    assert_eq!((error.position.line, error.position.column), (2, 3));
}

#[test]
fn printed_as_xend_prints() {
    for (text, printed) in [
        ("a=b", "'a=b'"),
        ("it's", "\"it's\""),
        ("both ' and \"", "'both \\' and \"'"),
        ("\t", "'\\t'"),
        ("\0", "'\\x00'"),
        ("é", "'\\xc3\\xa9'"),
        ("phy:/dev/vg/lv", "phy:/dev/vg/lv"),
        ("00:16:3e:00:00:01", "00:16:3e:00:00:01"),
        ("w!", "'w!'"),
        ("@", "@"),
        ("", "''"),
    ] {
        assert_eq!(to_bytes(&atom(text)), printed.as_bytes());
    }
    assert_eq!(sxp::quote_single("it's\n"), "'it`s?'");
    assert_eq!(sxp::quote_single(""), "'no reason given'");
}

fn tree() -> impl Strategy<Value = Sexp> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| atom(&sxp::text_from_bytes(&bytes))),
        "[a-z()'\"#\\\\ ]{0,8}".prop_map(|text| atom(&text)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(Sexp::List)
    })
}

proptest! {
    #[test]
    fn a_tree_comes_back(tree in tree(), size in 1..40_usize) {
        let mut bytes = to_bytes(&tree);
        bytes.push(b'\n');
        prop_assert_eq!(stream(&bytes, size).unwrap(), vec![tree.clone()]);
        prop_assert_eq!(file(&bytes).unwrap(), vec![tree]);
    }

    #[test]
    fn half_a_list_is_never_a_value(tree in tree()) {
        let bytes = to_bytes(&Sexp::List(vec![tree]));
        for length in 0..bytes.len() {
            prop_assert_eq!(stream(&bytes[..length], 7).unwrap(), vec![]);
            prop_assert!(length == 0 || file(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic_and_any_split_says_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80), size in 1..9_usize) {
        let _ = file(&bytes);
        prop_assert_eq!(stream(&bytes, size), stream(&bytes, 1000));
    }

    #[test]
    fn random_trees_never_panic_the_typed_reader(tree in tree()) {
        let _ = from_sexp::<Message>(&tree);
        let _ = from_sexp::<Fields>(&tree);
    }
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Message {
    Commit,
    #[serde(rename_all = "kebab-case")]
    Running {
        domid: u32,
        on_host: Option<String>,
    },
    Hello(Fields),
    Pair(String, u8),
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fields {
    protocol: String,
    #[serde(default)]
    versions: Vec<u32>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    children: Vec<Fields>,
}

#[test]
fn typed_structs_there_and_back() {
    let child = Fields {
        protocol: "x y".to_owned(),
        ..Fields::default()
    };
    let fields = Fields {
        protocol: "relocd".to_owned(),
        versions: vec![1, 2],
        live: true,
        children: vec![child.clone(), child],
    };
    for (message, line) in [
        (Message::Commit, "(commit)"),
        (
            Message::Running {
                domid: 3,
                on_host: None,
            },
            "(running (domid 3))",
        ),
        (
            Message::Running {
                domid: 3,
                on_host: Some("b".to_owned()),
            },
            "(running (domid 3) (on-host b))",
        ),
        (Message::Pair("a".to_owned(), 7), "(pair a 7)"),
        (
            Message::Hello(fields),
            "(hello (protocol relocd) (versions 1 2) (live yes) \
             (children ((protocol 'x y') (versions) (live no) (children)) ((protocol 'x y') (versions) (live no) (children))))",
        ),
    ] {
        let tree = to_sexp(&message).unwrap();
        assert_eq!(String::from_utf8(to_bytes(&tree)).unwrap(), line);
        assert_eq!(from_sexp::<Message>(&tree).unwrap(), message);
    }
    assert_eq!(from_sexp::<Message>(&atom("commit")).unwrap(), Message::Commit);
    // Unknown fields are ignored, the first of two counts.
    let read = |line: &str| from_sexp::<Message>(&file(line.as_bytes()).unwrap()[0]);
    assert_eq!(
        read("(running (x (y)) z (domid 1) (domid 2))").unwrap(),
        Message::Running {
            domid: 1,
            on_host: None
        }
    );
    assert_eq!(
        read("(running (domid x))").unwrap_err().to_string(),
        "running.domid: expected a number from 0 on, found 'x'"
    );
    assert!(read("(runs)").is_err());
}

#[test]
fn a_raw_tree_comes_back() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Holder {
        config: sxp::Raw,
    }
    for line in ["(domain (name web) (a (b)) x)", "word", "()"] {
        let config = sxp::Raw(
            read_all(line.as_bytes(), Limits::default())
                .unwrap()
                .first()
                .map(sxp::Spanned::to_sexp)
                .unwrap_or_else(|| atom("word")),
        );
        let tree = to_sexp(&Holder { config: config.clone() }).unwrap();
        assert_eq!(
            String::from_utf8(to_bytes(&tree)).unwrap(),
            format!("((config {line}))")
        );
        assert_eq!(from_sexp::<Holder>(&tree).unwrap(), Holder { config });
    }
}
