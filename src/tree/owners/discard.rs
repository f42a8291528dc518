//! Removes a machine's directory: the files that snaptree made there, and no others.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::Disk;
use crate::tree::files::file_id::FileSet;
use crate::tree::files::made::{Known, Maker};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::collect::{WhyLeft, judge, remove_doomed};
use crate::tree::owners::dependents::{Search, dependents};

/// The subdirectories of a machine's directory that hold its records.
const RECORDS: [&str; 6] = ["aside", "failed", "restores", "checkpoints", "undo", "made"];

/// The content of a machine's directory.
#[derive(Debug, Default)]
struct Contents {
    /// Disks, RAM and what QEMU boots.
    files: Vec<PathBuf>,
    /// Records about the machine.
    records: Vec<PathBuf>,
    /// Files that snaptree did not make.
    others: Vec<(PathBuf, WhyLeft)>,
}

impl Contents {
    /// Sorts the content of a directory; `disks` belong to the machine even if snaptree did not make them.
    fn of(directory: &Path, known: &Known, disks: &FileSet) -> Self {
        let mut contents = Self::default();
        let Ok(metadata) = fs::symlink_metadata(directory) else { return contents };
        if metadata.is_symlink() {
            contents.others.push((directory.to_path_buf(), WhyLeft::SymbolicLink));
            return contents;
        }
        for path in entries(directory) {
            let Ok(entry) = fs::symlink_metadata(&path) else { continue };
            let is_record =
                entry.is_dir() && entry.dev() == metadata.dev() && RECORDS.iter().any(|name| path.ends_with(name));
            if entry.is_symlink() {
                contents.others.push((path, WhyLeft::SymbolicLink));
            } else if entry.is_file() && (known.maker_of(&path) == Maker::Snaptree || disks.contains(&path)) {
                contents.files.push(path);
            } else if is_record {
                let (records, others): (Vec<_>, Vec<_>) =
                    entries(&path).into_iter().partition(|file| is_of_a_record(file));
                contents.records.extend(records);
                contents.others.extend(others.into_iter().map(|file| (file, WhyLeft::MadeBySomebodyElse)));
            } else {
                contents.others.push((path, WhyLeft::MadeBySomebodyElse));
            }
        }
        contents
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn is_of_a_record(file: &Path) -> bool {
    let is_regular = fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file());
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_stamp = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    is_regular
        && (["leftovers", "lock"].contains(&name) || is_stamp || name.ends_with(".json") || name.ends_with(".part"))
}

/// Refuses to delete a machine if something that stays depends on its files. `going` names the domains deleted with it.
pub fn check_nothing_depends(engine: &Engine, machine: &Machine, directory: &Path, going: &[String]) -> Result<()> {
    let Contents { files, .. } = Contents::of(directory, &machine.made(), &disks_of(engine, machine)?);
    let going: Vec<String> = going.iter().cloned().chain([machine.name.to_string()]).collect();
    let search = Search { without: &going, candidates: &files, ..Search::default() };
    let verdict = judge(dependents(engine, &search)?, &files, |_| Maker::Snaptree);
    // Files that its own guests have open are closed when the guests are stopped.
    let runs = machine.is_active() || going.len() > 1;
    let cannot = || Error::failed(format!("cannot delete machine `{}`", machine.name));
    for (file, why) in verdict.left {
        let file = file.display();
        return Err(match why {
            WhyLeft::Used(dependent) => cannot().cause(format!("{dependent} depends on `{file}`")).hint(
                "delete what depends on it first, or make that stand alone: `qemu-img convert` copies an image whole",
            ),
            WhyLeft::InDoubt(doubt) => cannot()
                .cause(format!("{doubt} may depend on `{file}`"))
                .hint("fix that, or move it to another directory, then delete the machine"),
            WhyLeft::Open(how) if !runs => {
                cannot().cause(format!("`{file}` is in use: {how}")).hint("end what uses it, then delete the machine")
            }
            _ => continue,
        });
    }
    Ok(())
}

/// Removes the files that snaptree made in the directory of a deleted machine, then the directory if it is empty.
pub fn discard(engine: &Engine, directory: &Path, known: &Known, disks: &FileSet) -> Result<()> {
    let Contents { files, records, others } = Contents::of(directory, known, disks);
    let search = Search { candidates: &files, ..Search::default() };
    let mut verdict = judge(dependents(engine, &search)?, &files, |_| Maker::Snaptree);
    remove_doomed(engine, None, &mut verdict)?;
    for (file, why) in verdict.left.iter().chain(&others) {
        engine.events.note(format!("left `{}`: {why}", file.display()));
    }
    // They are of no use without the files.
    records.iter().for_each(|file| drop(fs::remove_file(file)));
    RECORDS.iter().for_each(|name| drop(fs::remove_dir(directory.join(name))));
    match fs::remove_dir(directory) {
        Err(error) if !is_expected(&error, verdict.left.is_empty() && others.is_empty()) => {
            Err(Error::failed(format!("cannot remove `{}`", directory.display())).cause(error))
        }
        _ => Ok(()),
    }
}

/// Lists the disks that a machine and its snapshots have.
pub fn disks_of(engine: &Engine, machine: &Machine) -> Result<FileSet> {
    let mut disks: FileSet = machine.details.disks.iter().filter_map(Disk::file).collect();
    disks.extend(engine.hypervisor.disk_images(machine.name.as_str())?.into_iter().map(|image| image.file));
    disks.extend(machine.nodes.iter().flat_map(|node| node.snapshot.layers()).map(|layer| layer.file));
    Ok(disks)
}

/// Returns whether it is fine that a directory was not removed: it is gone, or something was left in it.
fn is_expected(error: &std::io::Error, is_empty: bool) -> bool {
    error.kind() == ErrorKind::NotFound || !is_empty
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::files::made::Made;

    #[test]
    fn what_somebody_put_into_a_machines_directory_is_told_from_what_snaptree_made() {
        let root = tempfile::tempdir().unwrap();
        let directory = fs::canonicalize(root.path()).unwrap().join("m");
        let path = |name: &str| directory.join(name);
        for name in ["undo", "made", "theirs", "aside"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in [
            "root-0123456789ab-0.qcow2",
            "root-0123456789ab-1.notes",
            "recorded",
            "disk",
            "notes.txt",
            "undo/000001.json",
            "undo/leftovers",
            "aside/lock",
            "undo/notes.txt",
            "theirs/x.json",
        ] {
            fs::write(path(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), path("link-0123456789ab-2.qcow2")).unwrap();
        std::os::unix::fs::symlink(path("theirs"), path("failed")).unwrap();
        let made = Made::of(&directory);
        made.record(&path("recorded")).unwrap();
        let contents = Contents::of(&directory, &made.read_in(&directory), &FileSet::from_iter([path("disk")]));
        assert_eq!(contents.files, ["disk", "recorded", "root-0123456789ab-0.qcow2"].map(path));
        assert_eq!(contents.records.len(), 4, "{:?}", contents.records);
        let others: Vec<PathBuf> = contents.others.into_iter().map(|(file, _)| file).collect();
        let expected = [
            "failed",
            "link-0123456789ab-2.qcow2",
            "notes.txt",
            "root-0123456789ab-1.notes",
            "theirs",
            "undo/notes.txt",
        ];
        assert_eq!(others, expected.map(path));
        let link = root.path().join("to-m");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        let contents = Contents::of(&link, &made.read_in(&directory), &FileSet::default());
        assert_eq!(contents.files, Vec::<PathBuf>::new());
        assert_eq!(contents.others, [(link, WhyLeft::SymbolicLink)]);
    }
}
