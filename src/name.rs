//! Names of machines and snapshots, refused at the edge when libvirt or a file system could not carry them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest name, in bytes: libvirt makes a file name of it and adds its own endings.
const MAX_BYTES: usize = 200;

fn check(what: &str, name: &str) -> Result<()> {
    let wrong = if name.is_empty() {
        "it is empty".to_string()
    } else if name.len() > MAX_BYTES {
        format!("it is {} bytes long, and {MAX_BYTES} is the limit", name.len())
    } else if let Some(control) = name.chars().find(|c| c.is_control()) {
        format!("it contains the control character {control:?}")
    } else if name.contains('/') {
        "it contains `/`, which separates a machine from a snapshot".to_string()
    } else if name.starts_with('.') {
        "it starts with `.`".to_string()
    } else if name.starts_with('-') {
        "it starts with `-`, which reads as an option".to_string()
    } else if name.trim() != name {
        "it starts or ends with a space".to_string()
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("{name:?} cannot name a {what}"))
        .cause(wrong)
        .hint("letters of any script, digits, spaces, quotes and most signs are fine"))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(String);

        impl $type {
            pub fn new(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                check($what, &name)?;
                Ok(Self(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the part of the name that any file system and any socket path can carry.
            pub fn slug(&self) -> String {
                slug(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::new(name)
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
    "machine"
);
name!(
    /// The name of a snapshot, unique within its machine.
    SnapshotName,
    "snapshot"
);

/// Returns the part of a name that any file system and any socket path can carry.
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
        for name in ["sn01", "a b", "quote\"'", "<&>", "日本語", "x:y,z=1", "ünïcode"] {
            assert_eq!(MachineName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_that_libvirt_cannot_carry_is_refused_with_the_reason() {
        let reason = |name: &str| SnapshotName::new(name).unwrap_err().causes.remove(0);
        assert_eq!(reason(""), "it is empty");
        assert_eq!(reason("a/b"), "it contains `/`, which separates a machine from a snapshot");
        assert_eq!(reason("a\nb"), "it contains the control character '\\n'");
        assert_eq!(reason(".hidden"), "it starts with `.`");
        assert_eq!(reason("-x"), "it starts with `-`, which reads as an option");
        assert_eq!(reason(" x"), "it starts or ends with a space");
        assert_eq!(reason(&"語".repeat(67)), "it is 201 bytes long, and 200 is the limit");
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
    fn a_slug_is_plain_ascii() {
        assert_eq!(MachineName::new("日本 <a>.b").unwrap().slug(), "____a_.b");
    }
}
