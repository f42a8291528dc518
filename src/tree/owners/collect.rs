//! Removes files that nothing depends on any more: only those that snaptree made, and in doubt none.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::name::MachineName;
use crate::tree::files::disk_usage::taken;
use crate::tree::files::file_id::{FileId, FileSet};
use crate::tree::files::made::{Made, Maker};
use crate::tree::kept::undo_log::UndoLog;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::dependents::{Dependent, Dependents, Doubt, Search, dependents};
use crate::tree::owners::opened::opened;

/// The outcome of a collection.
#[derive(Debug, Default)]
pub struct Collected {
    /// With their sizes on the disk, in bytes.
    pub removed: Vec<(PathBuf, u64)>,
    /// Without those that the machine itself needs, unless they hold a deleted snapshot.
    pub left: Vec<Left>,
}

/// A file that was not removed.
pub type Left = (PathBuf, WhyLeft);

impl Collected {
    pub fn freed(&self) -> u64 {
        self.removed.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Why a file was not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyLeft {
    Used(Dependent),
    MadeBySomebodyElse,
    Replaced,
    SymbolicLink,
    HasAnotherName,
    Open(String),
    InDoubt(Doubt),
    CannotBeRemoved(String),
    /// The machine itself may depend on the file.
    HoldsSnapshot(String, String),
}

impl fmt::Display for WhyLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(dependent) => write!(f, "{dependent} depends on it"),
            Self::MadeBySomebodyElse => f.write_str("snaptree did not make it"),
            Self::Replaced => f.write_str("it is not the file that snaptree made there"),
            Self::SymbolicLink => f.write_str("it is a symbolic link"),
            Self::HasAnotherName => f.write_str("it has another name, by a hard link"),
            Self::Open(how) => f.write_str(how),
            Self::InDoubt(doubt) => write!(f, "{doubt} may depend on it"),
            Self::CannotBeRemoved(why) => write!(f, "it cannot be removed: {why}"),
            Self::HoldsSnapshot(name, why) => write!(f, "the internal snapshot `{name}` stays inside it, since {why}"),
        }
    }
}

/// Which files may be removed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The identity of each one at the time of the decision.
    pub doomed: Vec<(PathBuf, FileId)>,
    pub left: Vec<Left>,
    /// The machine itself depends on these.
    pub needed: Vec<PathBuf>,
}

/// Removes those of `files` that snaptree made and that nothing depends on. The next collection tries the rest again.
pub fn collect(engine: &Engine, name: &MachineName, files: Vec<PathBuf>) -> Result<Collected> {
    let _alone = engine.one_collection();
    let Some(machine) = engine.look_again(name)? else { return Ok(Collected::default()) };
    let undo_log = UndoLog::of(&machine.directory);
    let mut seen = FileSet::default();
    let mut files: Vec<PathBuf> = files.into_iter().chain(undo_log.leftovers()).collect();
    files.retain(|file| fs::symlink_metadata(file).is_ok() && seen.insert(file));
    if files.is_empty() {
        undo_log.set_leftovers(&BTreeSet::new())?;
        return Ok(Collected::default());
    }
    let known = machine.made();
    let search = Search { machine: Some(&machine), candidates: &files, ..Search::default() };
    let mut found = dependents(engine, &search)?;
    // Layers between two nodes belong to checkpoints that may have been forgotten.
    let below: Vec<PathBuf> = files.iter().flat_map(|file| found.all_below(file)).collect();
    let is_unnamed = |file: &PathBuf| known.has_named(file) && file.exists();
    files.extend(below.into_iter().filter(|file| is_unnamed(file) && seen.insert(file)));
    let mut verdict = judge(found, &files, |file| known.maker_of(file));
    let removed = remove_doomed(engine, Some(&machine), &mut verdict)?;
    let stay = verdict.left.iter().map(|(file, _)| file).chain(&verdict.needed);
    // libvirt's names are UTF-8; a path that is not was only found below an image.
    undo_log.set_leftovers(&stay.filter(|file| file.to_str().is_some()).cloned().collect())?;
    let mut collected = Collected { removed, left: verdict.left };
    collected.removed.sort();
    collected.left.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(collected)
}

/// Removes the doomed files after one more check; those that fail it join the files that are left.
pub fn remove_doomed(engine: &Engine, machine: Option<&Machine>, verdict: &mut Verdict) -> Result<Vec<(PathBuf, u64)>> {
    let mut removed = Vec::new();
    let doomed = std::mem::take(&mut verdict.doomed);
    if doomed.is_empty() {
        return Ok(removed);
    }
    let files: Vec<PathBuf> = doomed.iter().map(|(file, _)| file.clone()).collect();
    let search = Search { machine, candidates: &files, is_second_look: true, ..Search::default() };
    let again = judge(dependents(engine, &search)?, &files, |_| Maker::Snaptree);
    verdict.left.extend(again.left);
    verdict.needed.extend(again.needed);
    for (file, id) in again.doomed {
        // The file may have been moved, and another one put in its place.
        if !doomed.iter().any(|(was, of)| *was == file && *of == id) {
            verdict.left.push((file, WhyLeft::Replaced));
            continue;
        }
        let (metadata, bytes) = (fs::symlink_metadata(&file), taken(&file).unwrap_or_default());
        match fs::remove_file(&file) {
            Ok(()) => {
                if let (Some(machine), Ok(metadata)) = (machine, metadata) {
                    Made::of(&machine.directory).forget(&metadata);
                }
                removed.push((file, bytes));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => verdict.left.push((file, WhyLeft::CannotBeRemoved(error.to_string()))),
        }
    }
    Ok(removed)
}

/// Decides which files may be removed. A file that stays also keeps the files that it depends on.
pub fn judge(mut dependents: Dependents, files: &[PathBuf], maker_of: impl Fn(&Path) -> Maker) -> Verdict {
    dependents.leave_out(files);
    let (mut used, open) = (dependents.used(), opened(files));
    let (mut verdict, mut undecided) = (Verdict::default(), Vec::new());
    for file in files {
        let by = used.by(file);
        if matches!(by, Some(Dependent::Itself(_))) {
            verdict.needed.push(file.clone());
            continue;
        }
        let id = FileId::of(file);
        let for_itself = why_for_itself(file, maker_of(file)).or_else(|| by.cloned().map(WhyLeft::Used));
        match for_itself.or_else(|| open.get(&id).cloned().map(WhyLeft::Open)) {
            Some(why) => verdict.left.push((file.clone(), why)),
            None => undecided.push((file.clone(), id)),
        }
    }
    for (file, _) in &verdict.left {
        dependents.spread(&mut used, file.clone(), Dependent::Image(file.clone()));
    }
    for (file, id) in undecided {
        let why = used.by(&file).cloned().map(WhyLeft::Used);
        match why.or_else(|| dependents.doubts().first().cloned().map(WhyLeft::InDoubt)) {
            Some(why) => verdict.left.push((file, why)),
            None => verdict.doomed.push((file, id)),
        }
    }
    verdict
}

/// Returns why a file has to stay, whether or not anything depends on it.
fn why_for_itself(file: &Path, maker: Maker) -> Option<WhyLeft> {
    let metadata = match fs::symlink_metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => return Some(WhyLeft::CannotBeRemoved(error.to_string())),
    };
    match maker {
        _ if metadata.is_symlink() => Some(WhyLeft::SymbolicLink),
        Maker::SomebodyElse => Some(WhyLeft::MadeBySomebodyElse),
        Maker::Replaced => Some(WhyLeft::Replaced),
        Maker::Snaptree if metadata.nlink() > 1 => Some(WhyLeft::HasAnotherName),
        Maker::Snaptree => None,
    }
}
