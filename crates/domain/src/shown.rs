//! Texts of a peer's in messages.

/// A text as a message may show it: not more than 64 characters, and nothing that acts on a terminal or a log.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_default).collect();
    if text.chars().nth(64).is_some() {
        out.push_str("...");
    }
    out
}
