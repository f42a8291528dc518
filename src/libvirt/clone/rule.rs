//! A rule for clones.

use std::path::Path;

use crate::libvirt::xml::element::Element;

/// A clone's name, and where it may put its own files.
pub struct Identity<'a> {
    pub name: &'a str,
    pub uuid: &'a str,
    /// The file for its firmware's variables; its pstore's has another suffix.
    pub nvram: &'a Path,
    /// Whether a file exists on the host, as far as this user can see.
    pub exists: fn(&Path) -> bool,
}

impl Identity<'static> {
    /// No domain's, to see what a clone would be like.
    pub fn none() -> Self {
        Self { name: "", uuid: "", nvram: Path::new(""), exists: |_| false }
    }
}

/// How a clone differs from its original in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Replaced,
    LeftOut,
    Kept,
    /// Such a domain cannot be cloned.
    Refused,
}

/// What a rule does with an element.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The element stays, perhaps with changes.
    Stays,
    /// The element is removed.
    Goes,
    /// The domain cannot be cloned, because of this.
    Refused(String),
}

/// Where a rule's element is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The `<domain>` itself.
    Domain,
    /// Children of the `<domain>` by name.
    Top(&'static str),
    /// Devices by name.
    Devices(&'static [&'static str]),
}

#[cfg_attr(not(test), expect(dead_code, reason = "docs/clones.md is compared with the table"))]
pub struct Rule {
    /// The first cell of its row in docs/clones.md.
    pub what: &'static str,
    pub treatment: Treatment,
    pub place: Place,
    pub apply: fn(&mut Element, &Identity) -> Verdict,
}

#[cfg(test)]
impl Treatment {
    /// The second cell of a row in docs/clones.md.
    pub fn word(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::LeftOut => "left out",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

/// For rows that only say that nothing has to be done.
pub fn keep(_: &mut Element, _: &Identity) -> Verdict {
    Verdict::Stays
}

pub fn goes(_: &mut Element, _: &Identity) -> Verdict {
    Verdict::Goes
}

/// Says whether a serial number is one: cloud-init's settings are put there too, after `ds=`.
pub fn is_serial(serial: &str) -> bool {
    !serial.starts_with("ds=")
}
