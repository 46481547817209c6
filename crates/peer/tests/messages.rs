//! Messages and requests: what comes back, and that nothing a peer sends breaks their readers.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests

use domain::{Bridge, HostFacts};
use peer::{
    native::message::{Hello, HelloReply, ModeWord, Outcome, OutcomeQuery, Refused, Relocate, Reply, Secret},
    request::Request,
};
use proptest::prelude::*;
use sxp::{Limits, Reader, Sexp, atom};

/// The one value of a line.
fn value(line: &[u8]) -> Sexp {
    assert_eq!(line.last(), Some(&b'\n'));
    let values = sxp::read_all(line, Limits::default()).unwrap();
    assert_eq!(values.len(), 1);
    values[0].to_sexp()
}

/// What a connection makes of bytes: values up to the first error.
fn values(bytes: &[u8]) -> Vec<Sexp> {
    let mut reader = Reader::new(Limits::default());
    let mut values = Vec::new();
    let mut rest = bytes;
    while let Ok((used, Some(value))) = reader.feed(rest) {
        values.push(value);
        rest = &rest[used..];
    }
    values
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{0,8}",
        any::<String>().prop_map(|text| text.chars().take(12).collect())
    ]
}

fn host() -> impl Strategy<Value = HostFacts> {
    let bridge = text().prop_map(|name| Bridge {
        name,
        subnets: vec!["10.0.0.0/8".parse().unwrap(), "fe80::/64".parse().unwrap()],
    });
    (
        (text(), text(), text(), text()),
        prop::collection::vec(text(), 0..3),
        (any::<u64>(), any::<u64>(), any::<u32>()),
        prop::collection::vec(bridge, 0..3),
    )
        .prop_map(
            |((name, toolstack, version, architecture), virtualization, (free, total, processors), bridges)| {
                HostFacts {
                    name,
                    toolstack,
                    version,
                    architecture,
                    virtualization: virtualization.clone(),
                    free_memory_kib: free,
                    total_memory_kib: total,
                    processors,
                    dom0_gives_kib: free / 2,
                    features: virtualization.clone(),
                    bridges,
                }
            },
        )
}

fn tree() -> impl Strategy<Value = Sexp> {
    // Words of the protocol, so that random trees get beyond the first one.
    let words = [
        "ok", "hello", "err", "ready", "relocate", "running", "domid", "outcome", "id", "lost", "reason", "type",
        "value", "commit", "7",
    ];
    let leaf = prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(atom),
        text().prop_map(|text| atom(&text)),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop::collection::vec(inner, 0..5).prop_map(Sexp::List)
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    let outcome = prop_oneof![
        any::<u32>().prop_map(|domid| Outcome::Running { domid }),
        Just(Outcome::Discarded),
        Just(Outcome::Pending),
        text().prop_map(|reason| Outcome::Lost { reason }),
    ];
    prop_oneof![
        (any::<u32>(), prop::collection::vec(text(), 0..3), host()).prop_map(|(version, features, host)| {
            Reply::Hello(HelloReply {
                version,
                features,
                host,
            })
        }),
        Just(Reply::Admitted),
        outcome.prop_map(Reply::Outcome),
        Just(Reply::Ready),
        Just(Reply::Loaded),
        any::<u32>().prop_map(|domid| Reply::Running { domid }),
        (text(), text()).prop_map(|(word, text)| Reply::Err(Refused { word, text })),
    ]
}

proptest! {
    #[test]
    fn a_reply_comes_back(reply in reply()) {
        let read = Reply::parse(&value(&reply.to_line().unwrap())).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{reply:?}"));
    }

    #[test]
    fn a_hello_comes_back(versions in prop::collection::vec(any::<u32>(), 0..4), features in prop::collection::vec(text(), 0..4)) {
        let hello = Hello { protocol: "relocd".to_owned(), versions, features };
        let read = Request::parse(&value(&hello.to_line().unwrap())).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", Request::Hello(hello)));
    }

    #[test]
    fn a_relocate_comes_back(
        id in any::<u128>(), live in any::<bool>(), (dry_run, force) in any::<(bool, bool)>(), config in tree(), host in host()
    ) {
        let secret = Secret::new();
        let relocate = Relocate {
            id: uuid::Uuid::from_u128(id),
            secret: Some(secret.clone()),
            mode: if live { ModeWord::Live } else { ModeWord::Offline },
            dry_run,
            force,
            config: sxp::Raw(config),
            host,
        };
        let read = Request::parse(&value(&relocate.to_line().unwrap())).unwrap();
        prop_assert!(matches!(&read, Request::Relocate(read) if read.secret == Some(secret)));
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", Request::Relocate(Box::new(relocate))));
    }

    #[test]
    fn an_outcome_query_comes_back(id in any::<u128>()) {
        let secret = Secret::new();
        let query = OutcomeQuery {
            id: uuid::Uuid::from_u128(id),
            secret: Some(secret.clone()),
            uuid: Some(uuid::Uuid::from_u128(!id)),
        };
        let read = Request::parse(&value(&query.to_line().unwrap())).unwrap();
        prop_assert!(matches!(&read, Request::Outcome(read) if read.secret == Some(secret.clone())));
        prop_assert!(secret != Secret::new());
        let shown = format!("{read:?}");
        prop_assert!(shown.contains("Secret(..)"), "{}", shown);
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", Request::Outcome(query)));
    }

    #[test]
    fn random_trees_never_panic_and_errors_are_one_line(tree in tree()) {
        let _ = Reply::parse(&tree);
        if let Err(error) = Request::parse(&tree) {
            let reply = error.reply();
            prop_assert_eq!(reply.iter().filter(|byte| **byte == b'\n').count(), 1);
            value(&reply);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for value in values(&bytes) {
            let _ = (Request::parse(&value), Reply::parse(&value));
        }
    }

    #[test]
    fn changed_bytes_never_panic(reply in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = reply.to_line().unwrap();
        let at = at.index(line.len());
        line[at] = byte;
        for value in values(&line) {
            let _ = (Request::parse(&value), Reply::parse(&value));
        }
    }

    #[test]
    fn half_a_line_is_no_message(reply in reply()) {
        let line = reply.to_line().unwrap();
        for length in 0..line.len() - 1 {
            prop_assert!(values(&line[..length]).is_empty());
        }
    }
}

/// Hosts of the first days: they send no `force` and no facts that came later, and pass over those that they get.
#[test]
fn fields_that_came_later_may_be_absent_and_are_passed_over() {
    let relocate = |force| Relocate {
        id: uuid::Uuid::nil(),
        secret: None,
        mode: ModeWord::Live,
        dry_run: false,
        force,
        config: sxp::Raw(Sexp::List(Vec::new())),
        host: HostFacts::default(),
    };
    let line = |force| String::from_utf8(relocate(force).to_line().unwrap()).unwrap();
    assert!(!line(false).contains("force") && line(true).contains("(force yes)"));
    let first = "(relocate (id 00000000-0000-0000-0000-000000000000) (mode live) (config ()) (host (name a) (toolstack xl) (version 4.17) \
                 (architecture x86_64) (free-memory-kib 1) (total-memory-kib 2) (processors 1) (of-another-day (a b))) (of-another-day 1))\n";
    match Request::parse(&value(first.as_bytes())).unwrap() {
        Request::Relocate(read) => {
            assert!(!read.force && read.host.features.is_empty());
            assert_eq!(read.host.dom0_gives_kib, 0);
        }
        other => panic!("{other:?}"),
    }
}
