//! Names of machines and snapshots. A new name is refused if libvirt cannot store it; an existing one is accepted as it
//! is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest new name, in bytes: libvirt stores it in a file called by the name and `.xml.new`.
const LONGEST: usize = 247;

const SLASH: &str = "it contains `/`, which separates a machine from a snapshot";

/// Refuses a new name that libvirt cannot store.
fn check_new(what: &str, name: &str) -> Result<()> {
    check(what, name)?;
    let wrong = if name.len() > LONGEST {
        format!("it is {} bytes long, and {LONGEST} is the limit", name.len())
    } else if let Some(control) = name.chars().find(|c| c.is_control()) {
        format!("it contains the control character {control:?}")
    } else if name.contains('/') {
        SLASH.to_string()
    } else if name.starts_with('.') {
        "it starts with `.`".to_string()
    } else if name.trim().is_empty() {
        "it has no visible character".to_string()
    } else {
        return Ok(());
    };
    Err(cannot_name(what, name, wrong))
}

/// Refuses a name that no existing machine or snapshot can have.
fn check(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(cannot_name(what, name, "it is empty".to_string()));
    }
    if name.contains('\0') {
        return Err(cannot_name(what, name, format!("it contains the control character {:?}", '\0')));
    }
    Ok(())
}

/// As [`check`]; no domain has a `/` in its name.
fn check_machine(what: &str, name: &str) -> Result<()> {
    if name.contains('/') {
        return Err(cannot_name(what, name, SLASH.to_string()));
    }
    check(what, name)
}

fn cannot_name(what: &str, name: &str, why: String) -> Error {
    Error::usage(format!("{name:?} cannot name a {what}"))
        .cause(why)
        .hint("letters of any script, digits, spaces, quotes and most signs are fine")
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check_existing:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the name of something new.
            pub fn new(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                check_new($what, &name)?;
                Ok(Self(name))
            }

            /// Checks the name of something that may exist already, whether or not snaptree made it.
            pub fn existing(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                $check_existing($what, &name)?;
                Ok(Self(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the part of the name that is valid in any file system and any socket path.
            pub fn slug(&self) -> String {
                slug(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::existing(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::existing(name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a machine, which is the name of its libvirt domain.
    MachineName,
    "machine",
    check_machine
);
name!(
    /// The name of a snapshot, unique within its machine.
    SnapshotName,
    "snapshot",
    check
);

/// Writes a name on one line, without control characters that a terminal would act on.
pub fn on_one_line(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl MachineName {
    /// Names a clone: `word` is its purpose, and `id` makes it unique.
    pub fn of_clone(&self, word: &str, id: &str) -> String {
        format!("{}{word}-{id}", self.of_clones())
    }

    /// Returns the prefix of the names of all of its clones. A long name is cut, and its digest tells it from others
    /// with the same beginning, so that libvirt's own files and sockets for a clone have room.
    pub fn of_clones(&self) -> String {
        const IN_A_FILE: usize = 200;
        const DIGEST: usize = 8;
        let room = if is_long_for_sockets(&self.0) { 24 } else { IN_A_FILE };
        if self.0.len() <= room {
            return format!("{}.", self.0);
        }
        let digest = blake3::hash(self.0.as_bytes()).to_hex();
        format!("{}~{}.", cut(&self.0, room.min(IN_A_FILE - DIGEST - 1)), &digest[..DIGEST])
    }
}

/// Returns whether a domain of this name may have no room for its sockets, whose paths are limited to 107 bytes: they
/// include the first 20 characters of the name, which are 80 bytes in some scripts.
pub fn is_long_for_sockets(name: &str) -> bool {
    const CHARACTERS: usize = 20;
    const ROOM: usize = 38;
    name.chars().take(CHARACTERS).map(char::len_utf8).sum::<usize>() > ROOM
}

/// Returns as much of the beginning of a text as fits in this many bytes.
pub fn cut(text: &str, bytes: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|end| *end <= bytes).last().unwrap_or(0)]
}

/// Returns the part of a name that is valid in any file system and any socket path.
pub fn slug(name: &str) -> String {
    const MAX_CHARS: usize = 40;
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' })
        .take(MAX_CHARS)
        .collect()
}

/// `MACHINE/SNAPSHOT`, as the command line writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    pub machine: MachineName,
    pub snapshot: SnapshotName,
}

impl std::str::FromStr for SnapshotPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        let Some((machine, snapshot)) = path.split_once('/') else {
            return Err(Error::usage(format!("`{path}` names no snapshot"))
                .hint("write MACHINE/SNAPSHOT, such as kvm_debian12/sn01_kvm_debian12"));
        };
        Ok(Self { machine: machine.parse()?, snapshot: snapshot.parse()? })
    }
}

impl fmt::Display for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.machine, self.snapshot)
    }
}

/// `MACHINE` or `MACHINE/SNAPSHOT`, as the command line writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Machine(MachineName),
    Snapshot(SnapshotPath),
}

impl Target {
    pub fn machine(&self) -> &MachineName {
        match self {
            Self::Machine(machine) => machine,
            Self::Snapshot(path) => &path.machine,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(machine) => machine.fmt(f),
            Self::Snapshot(path) => path.fmt(f),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains('/') { text.parse().map(Self::Snapshot) } else { text.parse().map(Self::Machine) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_script_are_kept_as_they_are() {
        for name in ["sn01", "a b", "quote\"'", "<&>", "日本語", "x:y,z=1", "ünïcode", "-pre", " a ", "2", "語語語"]
        {
            assert_eq!(MachineName::new(name).unwrap().as_str(), name);
        }
        assert!(SnapshotName::new("x".repeat(247)).is_ok());
    }

    #[test]
    fn what_somebody_made_can_be_named_whatever_its_name_is() {
        let long = "x".repeat(255);
        for name in [".hidden", "a\tb", " ", "\u{85}", &long, "-"] {
            assert_eq!(MachineName::existing(name).unwrap().as_str(), name);
            let path: SnapshotPath = format!("lab/{name}").parse().unwrap();
            assert_eq!(path.snapshot.as_str(), name);
        }
        let path: SnapshotPath = "lab/a/b".parse().unwrap();
        assert_eq!((path.machine.as_str(), path.snapshot.as_str()), ("lab", "a/b"));
        let reason = |name: &str| MachineName::existing(name).unwrap_err().causes.remove(0);
        assert_eq!(reason(""), "it is empty");
        assert_eq!(reason("a\0b"), "it contains the control character '\\0'");
        assert_eq!(reason("a/b"), "it contains `/`, which separates a machine from a snapshot");
    }

    #[test]
    fn a_new_name_that_libvirt_cannot_carry_is_refused_with_the_reason() {
        let reason = |name: &str| SnapshotName::new(name).unwrap_err().causes.remove(0);
        assert_eq!(reason(""), "it is empty");
        assert_eq!(reason("a/b"), "it contains `/`, which separates a machine from a snapshot");
        assert_eq!(reason("a\nb"), "it contains the control character '\\n'");
        assert_eq!(reason(".hidden"), "it starts with `.`");
        assert_eq!(reason("a\0b"), "it contains the control character '\\0'");
        assert_eq!(reason("\u{a0} "), "it has no visible character");
        assert_eq!(reason(&"語".repeat(83)), "it is 249 bytes long, and 247 is the limit");
    }

    #[test]
    fn a_path_has_a_machine_and_a_snapshot() {
        let path: SnapshotPath = "db lab/sn 02".parse().unwrap();
        assert_eq!((path.machine.as_str(), path.snapshot.as_str()), ("db lab", "sn 02"));
        assert_eq!(
            "lab".parse::<SnapshotPath>().unwrap_err().to_string(),
            "`lab` names no snapshot\nhint: write MACHINE/SNAPSHOT, such as kvm_debian12/sn01_kvm_debian12"
        );
    }

    #[test]
    fn a_target_is_a_machine_or_a_snapshot() {
        let machine = Target::Machine(MachineName::new("lab").unwrap());
        assert_eq!("lab".parse::<Target>().unwrap(), machine);
        let snapshot: Target = "lab/sn01".parse().unwrap();
        assert_eq!(snapshot, Target::Snapshot("lab/sn01".parse().unwrap()));
        assert_eq!(snapshot.machine(), machine.machine());
        assert!("lab/".parse::<Target>().is_err() && "/sn01".parse::<Target>().is_err());
    }

    #[test]
    fn a_clone_of_a_machine_with_a_long_name_has_a_shorter_one() {
        let clone = |name: &str| MachineName::existing(name).unwrap().of_clone("build", "0123456789ab-12345");
        assert_eq!(clone("lab"), "lab.build-0123456789ab-12345");
        let long = "x".repeat(247);
        let name = clone(&long);
        assert!(name.starts_with(&format!("{}~", "x".repeat(191))) && name.len() <= LONGEST, "{name}");
        assert_ne!(name, clone(&format!("{long}x")), "it says whose it is");
        assert_eq!(clone("日本語"), "日本語.build-0123456789ab-12345");
        for (letter, kept) in [("語", 8), ("я", 12), ("😀", 6)] {
            let name = clone(&letter.repeat(25));
            assert!(name.starts_with(&format!("{}~", letter.repeat(kept))) && !is_long_for_sockets(&name), "{name}");
        }
    }

    #[test]
    fn a_slug_is_plain_ascii() {
        assert_eq!(MachineName::new("日本 <a>.b").unwrap().slug(), "____a_.b");
    }
}
