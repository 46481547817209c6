//! What a domain is called while it relocates.

use toolstack::DEPARTING_PREFIX;
use uuid::Uuid;

/// What stands before the relocation's identity while a domain arrives.
const ARRIVING_PREFIX: &str = "arriving-";

/// Bytes in a domain's own name at most: xl's log file is called after the domain, and a file's name has 255.
pub const MAX_NAME: usize = 255 - "xl-".len() - ".log.10".len() - DEPARTING_PREFIX.len() - 37;

/// A domain's name as Xen has it, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// It has nothing to do with a relocation.
    Plain(String),
    /// It departs.
    Departing {
        /// Which relocation.
        relocation: Uuid,
        /// Its own name.
        own: String,
    },
    /// It arrives.
    Arriving {
        /// Which relocation.
        relocation: Uuid,
        /// Its own name.
        own: String,
    },
}

impl Name {
    pub(crate) fn parse(name: &str) -> Name {
        let with = |prefix| {
            let rest: &str = name.strip_prefix(prefix)?;
            let (relocation, own) = rest.split_at_checked(36)?;
            let own = own.strip_prefix('-').filter(|own| !own.is_empty())?;
            Some((Uuid::try_parse(relocation).ok()?, own.to_owned()))
        };
        if let Some((relocation, own)) = with(DEPARTING_PREFIX) {
            Name::Departing { relocation, own }
        } else if let Some((relocation, own)) = with(ARRIVING_PREFIX) {
            Name::Arriving { relocation, own }
        } else {
            Name::Plain(name.to_owned())
        }
    }

    pub(crate) fn departing(relocation: Uuid, own: &str) -> String {
        format!("{DEPARTING_PREFIX}{}-{own}", relocation.hyphenated())
    }

    pub(crate) fn arriving(relocation: Uuid, own: &str) -> String {
        format!("{ARRIVING_PREFIX}{}-{own}", relocation.hyphenated())
    }

    /// Its own name.
    pub(crate) fn own(&self) -> &str {
        match self {
            Name::Plain(own) | Name::Departing { own, .. } | Name::Arriving { own, .. } => own,
        }
    }

    /// What operators see.
    pub(crate) fn shown(&self) -> String {
        match self {
            Name::Plain(own) | Name::Arriving { own, .. } => own.clone(),
            Name::Departing { own, .. } => format!("{DEPARTING_PREFIX}{own}"),
        }
    }

    /// Whether a relocation holds the domain.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self, Name::Plain(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let relocation = Uuid::new_v4();
        for own in ["web", "a-b c", "migrating-web", "ü"] {
            let departing = Name::Departing {
                relocation,
                own: own.to_owned(),
            };
            assert_eq!(Name::parse(&Name::departing(relocation, own)), departing);
            assert_eq!((departing.shown(), departing.own()), (format!("migrating-{own}"), own));
            let arriving = Name::parse(&Name::arriving(relocation, own));
            assert_eq!((arriving.shown(), arriving.own()), (own.to_owned(), own));
            assert!(arriving.is_held() && departing.is_held() && !Name::parse(own).is_held());
        }
        for plain in [
            "web",
            "migrating-web",
            "arriving-",
            &Name::arriving(relocation, ""),
            "arriving-ü-0123456789012345678901234567890123456789",
        ] {
            assert_eq!(Name::parse(plain), Name::Plain(plain.to_owned()));
        }
    }
}
