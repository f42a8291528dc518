//! The values of `--diskspec` and `--memspec`, as `virsh snapshot-create-as` takes them.

use std::path::PathBuf;
use std::str::FromStr;

use crate::hypervisor::SnapshotKind;

/// `TARGET[,snapshot=no|internal|external][,file=PATH]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    pub target: String,
    /// Whether the disk takes part.
    pub takes_part: bool,
    pub kind: Option<SnapshotKind>,
    pub file: Option<PathBuf>,
}

/// `[file=]PATH[,snapshot=no|internal|external]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySpec {
    /// Whether the snapshot contains the RAM.
    pub takes_part: bool,
    pub kind: Option<SnapshotKind>,
    pub file: Option<PathBuf>,
}

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut fields = fields(text).into_iter();
        let target = fields.next().filter(|target| !target.is_empty() && !target.contains('='));
        let target = target.ok_or("it begins with the disk's target, such as vda")?;
        let (mut state, mut file) = (State::default(), None);
        for field in fields {
            match field.split_once('=') {
                Some(("snapshot", word)) => state = word.parse()?,
                Some(("file", path)) if !path.is_empty() => file = Some(PathBuf::from(path)),
                Some(("driver", "qcow2")) | Some(("stype", "file")) => {}
                Some(("driver", _)) => return Err("an overlay is a qcow2 image: driver=qcow2".to_string()),
                Some(("stype", _)) => return Err("an overlay is a file: stype=file".to_string()),
                _ => return Err(format!("`{field}` is none of snapshot=, file=, driver= and stype=")),
            }
        }
        let (takes_part, kind) = state.with_file(file.is_some())?;
        Ok(Self { target, takes_part, kind, file })
    }
}

impl FromStr for MemorySpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut state, mut file) = (State::default(), None);
        for (n, field) in fields(text).into_iter().enumerate() {
            match field.split_once('=') {
                Some(("snapshot", word)) => state = word.parse()?,
                Some(("file", path)) if !path.is_empty() => file = Some(PathBuf::from(path)),
                _ if n == 0 && !field.is_empty() => file = Some(PathBuf::from(field)),
                _ => return Err(format!("`{field}` is none of file= and snapshot=")),
            }
        }
        let (takes_part, kind) = state.with_file(file.is_some())?;
        Ok(Self { takes_part, kind, file })
    }
}

/// The word after `snapshot=`.
#[derive(Default)]
enum State {
    #[default]
    Unsaid,
    No,
    Kind(SnapshotKind),
}

impl FromStr for State {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "no" => Ok(Self::No),
            "internal" => Ok(Self::Kind(SnapshotKind::Internal)),
            "external" => Ok(Self::Kind(SnapshotKind::External)),
            _ => Err(format!("snapshot={word} is none of no, internal and external")),
        }
    }
}

impl State {
    /// Says whether it takes part, and in which kind of snapshot. Only an external one has files of its own.
    fn with_file(self, has_file: bool) -> Result<(bool, Option<SnapshotKind>), String> {
        match (self, has_file) {
            (Self::Unsaid, true) => Ok((true, Some(SnapshotKind::External))),
            (Self::Unsaid, false) => Ok((true, None)),
            (Self::No, false) => Ok((false, None)),
            (Self::No, true) => Err("with snapshot=no there is no file".to_string()),
            (Self::Kind(SnapshotKind::Internal), true) => Err("with snapshot=internal there is no file".to_string()),
            (Self::Kind(kind), _) => Ok((true, Some(kind))),
        }
    }
}

/// Splits at commas; a double comma is a literal comma.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ',' && characters.next_if_eq(&',').is_none() {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(character);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_specified_as_in_virsh() {
        let disk = |takes_part, kind, file: Option<&str>| {
            Ok(DiskSpec { target: "vda".into(), takes_part, kind, file: file.map(PathBuf::from) })
        };
        let external = Some(SnapshotKind::External);
        assert_eq!("vda".parse(), disk(true, None, None));
        assert_eq!("vda,snapshot=no".parse(), disk(false, None, None));
        assert_eq!("vda,snapshot=internal".parse(), disk(true, Some(SnapshotKind::Internal), None));
        assert_eq!("vda,file=/a,,b".parse(), disk(true, external, Some("/a,b")));
        let all = "vda,snapshot=external,driver=qcow2,stype=file,file=/a=b";
        assert_eq!(all.parse(), disk(true, external, Some("/a=b")));
        for (text, reason) in [
            ("", "it begins with the disk's target, such as vda"),
            ("file=/a", "it begins with the disk's target, such as vda"),
            ("vda,snapshot=yes", "snapshot=yes is none of no, internal and external"),
            ("vda,size=1", "`size=1` is none of snapshot=, file=, driver= and stype="),
            ("vda,driver=raw", "an overlay is a qcow2 image: driver=qcow2"),
            ("vda,snapshot=no,file=/a", "with snapshot=no there is no file"),
            ("vda,snapshot=internal,file=/a", "with snapshot=internal there is no file"),
        ] {
            assert_eq!(text.parse::<DiskSpec>(), Err(reason.to_string()), "{text}");
        }
    }

    #[test]
    fn memory_is_specified_as_in_virsh() {
        let memory =
            |takes_part, kind, file: Option<&str>| Ok(MemorySpec { takes_part, kind, file: file.map(PathBuf::from) });
        let external = Some(SnapshotKind::External);
        assert_eq!("/ram".parse(), memory(true, external, Some("/ram")));
        assert_eq!("file=/ram,snapshot=external".parse(), memory(true, external, Some("/ram")));
        assert_eq!("snapshot=no".parse(), memory(false, None, None));
        assert_eq!("/a,x".parse::<MemorySpec>(), Err("`x` is none of file= and snapshot=".to_string()));
    }
}
