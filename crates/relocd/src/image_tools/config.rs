//! What configurations say, as far as reading an image needs it, and how they are shown.

use image::{
    inspect::{ConfigFacts, ConfigLanguage},
    legacy::LegacyGuest,
};
use sxp::{Limits, Sexp, SpannedKind, read_all};

/// Bytes of a configuration at most, and its nesting: as much as [`image::inspect`] takes.
const LIMITS: Limits = Limits {
    max_bytes: 16 << 20,
    max_depth: 64,
    max_parts: 1 << 20,
};

/// What a configuration says of the guest, and whether it can be read at all.
pub(super) fn facts(language: ConfigLanguage, text: &[u8]) -> ConfigFacts {
    match language {
        ConfigLanguage::Sxp => match domain(text) {
            Ok(domain) => ConfigFacts {
                guest: guest_of_sxp(&domain),
                wrong: None,
            },
            Err(wrong) => ConfigFacts {
                guest: None,
                wrong: Some(wrong),
            },
        },
        ConfigLanguage::Json => match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(value) => ConfigFacts {
                guest: value
                    .pointer("/c_info/type")
                    .and_then(serde_json::Value::as_str)
                    .and_then(guest_of_word),
                wrong: None,
            },
            Err(error) => ConfigFacts {
                guest: None,
                wrong: Some(format!("JSON that can't be read: {error}")),
            },
        },
        ConfigLanguage::XlCfg => ConfigFacts {
            guest: guest_of_text(text),
            wrong: None,
        },
    }
}

/// The first value of a configuration of xend's: a list that begins with `domain`. xend ignores whatever follows it.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn domain(text: &[u8]) -> Result<Sexp, String> {
    let values = read_all(text, LIMITS).map_err(|error| format!("an S-expression that can't be read: {error}"))?;
    let first = values.first();
    let is_domain = |list: &[sxp::Spanned]| matches!(list.first().map(|head| &head.kind), Some(SpannedKind::Atom { text, .. }) if text == "domain");
    match first.map(|value| &value.kind) {
        Some(SpannedKind::List(list)) if is_domain(list) => {
            Ok(first.map(sxp::Spanned::to_sexp).unwrap_or(Sexp::List(Vec::new())))
        }
        _ => Err("an S-expression that does not begin with (domain".to_owned()),
    }
}

/// `(image (linux ...))` or `(image (hvm ...))`. A guest that was started by a bootloader can be without it: it is PV.
fn guest_of_sxp(domain: &Sexp) -> Option<LegacyGuest> {
    let Sexp::List(elements) = domain else { return None };
    let image = elements.iter().find_map(|element| match element {
        Sexp::List(list) if list.first().and_then(sxp::text).as_deref() == Some("image") => list.get(1),
        _ => None,
    });
    match image {
        None => Some(LegacyGuest::Pv),
        Some(Sexp::List(list)) => list.first().and_then(sxp::text).as_deref().and_then(guest_of_word),
        Some(_) => None,
    }
}

fn guest_of_word(word: &str) -> Option<LegacyGuest> {
    match word {
        "pv" | "linux" => Some(LegacyGuest::Pv),
        "hvm" => Some(LegacyGuest::Hvm),
        _ => None,
    }
}

/// `type = "hvm"`, or `builder = "hvm"` as xl has taken for long.
fn guest_of_text(text: &[u8]) -> Option<LegacyGuest> {
    let text = String::from_utf8_lossy(text);
    let value = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(key, value)| {
            matches!(key.trim(), "type" | "builder").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        });
    value.as_deref().and_then(guest_of_word)
}

/// An S-expression in lines, a list of scalars on one.
pub(super) fn pretty(value: &Sexp) -> String {
    let mut out = String::new();
    lines(value, 0, &mut out);
    out
}

/// Characters of a list that is still put on one line.
const LINE: usize = 100;

fn lines(value: &Sexp, depth: usize, out: &mut String) {
    let line = String::from_utf8_lossy(&sxp::to_bytes(value)).into_owned();
    let indent = "  ".repeat(depth);
    match value {
        Sexp::List(list) if line.len() + indent.len() > LINE => {
            out.push_str(&indent);
            out.push('(');
            let mut rest = list.as_slice();
            if let Some((Sexp::Atom(head), tail)) = list.split_first() {
                out.push_str(&String::from_utf8_lossy(&sxp::to_bytes(&Sexp::Atom(head.clone()))));
                rest = tail;
            }
            for item in rest {
                out.push('\n');
                lines(item, depth + 1, out);
            }
            out.push(')');
        }
        _ => {
            out.push_str(&indent);
            out.push_str(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(language: ConfigLanguage, text: &str) -> Option<LegacyGuest> {
        facts(language, text.as_bytes()).guest
    }

    #[test]
    fn the_kind_of_guest() {
        use ConfigLanguage::{Json, Sxp, XlCfg};
        let (pv, hvm) = (Some(LegacyGuest::Pv), Some(LegacyGuest::Hvm));
        assert_eq!(guest(Sxp, "(domain (name a) (image (linux (kernel k))))"), pv);
        assert_eq!(
            guest(Sxp, "(domain (name '(image (linux))') (image (hvm (kernel k))))"),
            hvm
        );
        assert_eq!(guest(Sxp, "(domain (bootloader pygrub))"), pv);
        assert_eq!(guest(Json, r#"{"c_info": {"type": "hvm"}}"#), hvm);
        assert_eq!(guest(Json, r#"{"c_info": {"type": "pv"}}"#), pv);
        assert_eq!(guest(XlCfg, "name = 'type'\n type = \"hvm\"\n"), hvm);
        assert_eq!(guest(XlCfg, "name='x'"), None);
    }

    #[test]
    fn what_can_not_be_read_is_told() {
        let wrong = |text: &str| facts(ConfigLanguage::Sxp, text.as_bytes()).wrong;
        assert_eq!(wrong("(domain (name a)) rest"), None);
        for text in ["(domain (name a)", "(vm (name a))", "", "domain"] {
            assert!(wrong(text).is_some(), "{text}");
        }
        assert!(facts(ConfigLanguage::Json, b"{").wrong.is_some());
    }

    #[test]
    fn long_lists_are_broken_into_lines() {
        let text = format!(
            "(domain (name a) (args '{}') (image (linux (kernel k))))",
            "x".repeat(80)
        );
        let Ok(value) = domain(text.as_bytes()) else { panic!() };
        let shown = pretty(&value);
        assert!(shown.starts_with("(domain\n  (name a)\n"), "{shown}");
        assert!(shown.ends_with("\n  (image (linux (kernel k))))"), "{shown}");
        assert_eq!(domain(shown.as_bytes()), Ok(value));
    }
}
