//! A list of `(key value)` elements, of which each is taken at most once: what is left over at the end is what nobody understood.

use std::collections::BTreeSet;

use sexp::Sexp;

use crate::unmapped::{Unmapped, Why};

/// Fields that are reported as lost at most: a peer can send many.
const MAX_UNMAPPED: usize = 512;

/// The elements after the name, if `value` is a list of that name.
pub(crate) fn list_named<'a>(value: &'a Sexp, name: &str) -> Option<&'a [Sexp]> {
    let (head, rest) = named(value)?;
    (head == name).then_some(rest)
}

/// The name of a list and the elements after it.
pub(crate) fn named(value: &Sexp) -> Option<(String, &[Sexp])> {
    let Sexp::List(list) = value else { return None };
    let (head, rest) = list.split_first()?;
    Some((sxp::text(head)?, rest))
}

/// Everything that is lost, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    list: Vec<Unmapped>,
    more: usize,
}

impl Lost {
    pub(crate) fn add(&mut self, path: String, values: &[Sexp], why: Why) {
        if self.list.len() < MAX_UNMAPPED {
            self.list.push(Unmapped::new(path, values, why));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Unmapped> {
        if self.more > 0 {
            self.list.push(Unmapped {
                path: "domain".to_owned(),
                value: format!("{} more", self.more),
                why: Why::Unknown,
            });
        }
        self.list
    }
}

/// A key whose loss is known to be no surprise, and the values that say nothing.
pub(crate) type Known = (&'static str, Why, &'static [&'static str]);

/// Elements that are waiting to be taken.
pub(crate) struct Fields<'a> {
    path: String,
    items: Vec<Option<(Option<String>, &'a [Sexp])>>,
    taken: Vec<String>,
    asked: BTreeSet<String>,
}

impl<'a> Fields<'a> {
    /// `path`: what the list is called in reports; with a `/` at the end unless empty.
    pub(crate) fn new(path: &str, all: &'a [Sexp]) -> Fields<'a> {
        let items = all.iter().map(|item| {
            Some(match named(item) {
                Some((name, rest)) => (Some(name), rest),
                None => (None, std::slice::from_ref(item)),
            })
        });
        Fields {
            path: path.to_owned(),
            items: items.collect(),
            taken: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    /// The path of an element.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn find(&mut self, key: &str) -> Option<(usize, &'a [Sexp])> {
        self.asked.insert(key.to_owned());
        self.items.iter().enumerate().find_map(|(at, item)| match item {
            Some((Some(name), rest)) if name == key => Some((at, *rest)),
            _ => None,
        })
    }

    /// Takes the first element of a name: what stands after the name.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a [Sexp]> {
        let (at, rest) = self.find(key)?;
        self.items[at] = None;
        self.taken.push(key.to_owned());
        Some(rest)
    }

    /// Takes every element of a name.
    pub(crate) fn take_all(&mut self, key: &str) -> Vec<&'a [Sexp]> {
        self.asked.insert(key.to_owned());
        let mut found = Vec::new();
        for item in &mut self.items {
            if let Some((Some(name), rest)) = item
                && name == key
            {
                found.push(*rest);
                *item = None;
            }
        }
        if !found.is_empty() {
            self.taken.push(key.to_owned());
        }
        found
    }

    /// Takes a text: empty for `(key)`, which is how xend up to 4.0 prints an empty one. A list is left where it is.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        let (_, rest) = self.find(key)?;
        let text = match rest {
            [] => String::new(),
            [value] => sxp::text(value)?,
            _ => return None,
        };
        self.take(key);
        Some(text)
    }

    /// Takes a text, and lets go of an empty one.
    pub(crate) fn filled(&mut self, key: &str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// Takes a text if `read` understands it, or if it is empty. Another one is left where it is.
    pub(crate) fn read<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (_, rest) = self.find(key)?;
        let text = match rest {
            [] => String::new(),
            [value] => sxp::text(value)?,
            _ => return None,
        };
        if text.is_empty() {
            self.take(key);
            return None;
        }
        let value = read(text.trim())?;
        self.take(key);
        Some(value)
    }

    /// Takes an element if `read` understands what stands after its name.
    pub(crate) fn take_if<T>(&mut self, key: &str, read: impl FnOnce(&'a [Sexp]) -> Option<T>) -> Option<T> {
        let (_, rest) = self.find(key)?;
        let value = read(rest)?;
        self.take(key);
        Some(value)
    }

    /// Takes a switch: a number, or one of xend's words.
    pub(crate) fn switch(&mut self, key: &str) -> Option<bool> {
        self.read(key, switch)
    }

    /// The pairs of two texts whose keys nobody asked for, except for those that are `known`.
    pub(crate) fn unknown(&self, known: &[Known]) -> Vec<(String, String)> {
        let pairs = self.items.iter().flatten().filter_map(|item| match item {
            (Some(key), [value]) => Some((key.clone(), sxp::text(value)?)),
            _ => None,
        });
        pairs
            .filter(|(key, _)| !self.asked.contains(key) && !known.iter().any(|(known, ..)| known == key))
            .collect()
    }

    /// Reports what nobody took.
    pub(crate) fn finish(self, known: &[Known], lost: &mut Lost) {
        for (name, rest) in self.items.into_iter().flatten() {
            let name = name.unwrap_or_default();
            let path = format!("{}{name}", self.path);
            let text = match rest {
                [] => Some(String::new()),
                [value] => sxp::text(value),
                _ => None,
            };
            let why = if self.taken.contains(&name) {
                Why::Repeated
            } else if let Some((_, why, off)) = known.iter().find(|(key, ..)| *key == name) {
                let empty = matches!(rest, [Sexp::List(list)] if list.is_empty());
                match text {
                    Some(text) if off.contains(&text.as_str()) => Why::Default,
                    _ if empty && off.contains(&"") => Why::Default,
                    _ => *why,
                }
            } else {
                Why::Unknown
            };
            lost.add(path, rest, why);
        }
    }
}

/// A switch: any number, and the words that xend and Python have for it.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "0" | "no" | "n" | "off" | "false" | "f" | "False" => Some(false),
        "1" | "yes" | "y" | "on" | "true" | "t" | "True" => Some(true),
        text => text.parse::<i64>().ok().map(|number| number != 0),
    }
}
