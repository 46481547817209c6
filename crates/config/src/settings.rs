//! What a file sets, typed.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use sxp::Position;

use crate::{
    keys::{self, Key},
    value::{ListenAddress, LogLevel, Value},
};

/// A value that a file sets.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) at: Position,
}

/// What a file sets, and for the rest the table's defaults.
#[derive(Debug)]
pub(crate) struct Settings {
    set: HashMap<&'static str, Setting>,
    wrong: HashSet<&'static str>,
    /// Whether the whole file could be read.
    pub(crate) complete: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            set: HashMap::new(),
            wrong: HashSet::new(),
            complete: true,
        }
    }
}

impl Settings {
    pub(crate) fn insert(&mut self, key: &'static Key, setting: Setting) {
        self.set.insert(key.name, setting);
    }

    /// The key has a value that can't be used.
    pub(crate) fn insert_wrong(&mut self, key: &'static Key) {
        self.wrong.insert(key.name);
    }

    pub(crate) fn at(&self, name: &str) -> Option<Position> {
        self.set.get(name).map(|setting| setting.at)
    }

    /// Whether the key has a value that can't be used: then that it is unset is no second error.
    pub(crate) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(name)
    }

    fn value(&self, name: &str) -> Option<Value> {
        if let Some(setting) = self.set.get(name) {
            return Some(setting.value.clone());
        }
        let key = keys::find(name)?;
        key.kind.read(key.default?)
    }

    pub(crate) fn optional_bool(&self, name: &str) -> Option<bool> {
        match self.value(name) {
            Some(Value::Bool(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        self.optional_bool(name).unwrap_or_default()
    }

    /// The table's bounds are within those of the types.
    pub(crate) fn number<T: TryFrom<u64> + Default>(&self, name: &str) -> T {
        match self.value(name) {
            Some(Value::Number(value)) => T::try_from(value).unwrap_or_default(),
            _ => T::default(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        match self.value(name) {
            Some(Value::Path(path)) => path,
            _ => None,
        }
    }

    pub(crate) fn level(&self, name: &str) -> LogLevel {
        match self.value(name) {
            Some(Value::Level(level)) => level,
            _ => LogLevel::Info,
        }
    }

    pub(crate) fn address(&self, name: &str) -> ListenAddress {
        match self.value(name) {
            Some(Value::Address(address)) => address,
            _ => ListenAddress::All,
        }
    }
}
