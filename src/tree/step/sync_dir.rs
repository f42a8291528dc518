//! Makes a directory of the guest the same as one of the host, by sending what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::{Guest, GuestEntry, PathKind, UnpackOptions};
use crate::stop::Stop;
use crate::tree::archive::exclude::Exclude;
use crate::tree::archive::listing::{Entry, Kind, Listing};
use crate::tree::archive::pack::{self, Packing};
use crate::tree::archive::stream;
use crate::tree::record::operation::Outcome;
use crate::tree::step::directories::USUAL_MODE;

/// The mode without the kind of file.
const PERMISSIONS: u32 = 0o7777;
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

type Present = BTreeMap<PathBuf, GuestEntry>;

/// Sends what differs; if `delete` is given, deletes what the host does not have, apart from what that covers.
pub fn sync_dir(
    guest: &dyn Guest,
    path: &str,
    listing: &Listing,
    delete: Option<&Exclude>,
    stop: &Stop,
) -> Result<Outcome> {
    let target = guest.unpack_target(path, None, stop)?;
    let failed = || Error::failed(format!("cannot write `{path}` in the guest"));
    let present: Present = match target.kind {
        PathKind::File => {
            return Err(failed().cause(format!("it is a file, and `{}` is a directory", listing.root.display())));
        }
        PathKind::Missing => Present::new(),
        PathKind::Directory => guest.list(path, stop)?.into_iter().map(|entry| (entry.path.clone(), entry)).collect(),
    };
    match delete {
        Some(spared) => {
            let surplus = surplus(&present, listing, spared);
            if !surplus.is_empty() {
                guest.remove(path, &surplus, stop)?;
            }
        }
        None => {
            if let Some(entry) = listing.entries.iter().find(|entry| is_in_the_way(&present, entry)) {
                let is_directory = entry.kind == Kind::Directory;
                let [here, there] = if is_directory { ["a directory", "none"] } else { ["a file", "a directory"] };
                let (name, root) = (entry.path.display(), listing.root.display());
                let why = format!("`{name}` is {here} in `{root}`, and {there} in the guest");
                return Err(failed().cause(why).hint("delete it in the guest first, or pass `delete = true`"));
            }
        }
    }
    let entries = differing(&present, listing);
    if entries.is_empty() && target.kind == PathKind::Directory {
        return Ok(Outcome::Pushed(listing.marks()));
    }
    let packing = Packing { owner: (0, 0), keeps_holes: target.has_gnu_tar, leaves_out_parents: !target.has_gnu_tar };
    let options = UnpackOptions { makes: Some(USUAL_MODE), ..UnpackOptions::default() };
    stream::send(
        |pieces| pack::pack(&listing.root, &entries, packing, pieces),
        || format!("cannot read `{}`", listing.root.display()),
        |archive| guest.unpack(archive, path, &options, stop),
    )?;
    Ok(Outcome::Pushed(listing.marks()))
}

/// Says whether something of another kind is at an entry's place, which unpacking would not replace.
fn is_in_the_way(present: &Present, entry: &Entry) -> bool {
    let is_directory = entry.kind == Kind::Directory;
    present.get(&entry.path).is_some_and(|there| (there.mode & KIND == DIRECTORY) != is_directory)
}

/// Lists what the host does not have, or has as something else. What is below a listed directory is not listed.
fn surplus(present: &Present, listing: &Listing, spared: &Exclude) -> Vec<PathBuf> {
    let wanted: BTreeMap<&Path, &Entry> = listing.entries.iter().map(|entry| (entry.path.as_path(), entry)).collect();
    let is_spared = |path: &Path, entry: &GuestEntry| spared.covers(path, entry.mode & KIND == DIRECTORY);
    let spared_paths = present.iter().filter(|(path, entry)| is_spared(path, entry));
    let kept: BTreeSet<&Path> = spared_paths.flat_map(|(path, _)| path.ancestors()).collect();
    let is_surplus = |path: &Path| wanted.get(path).is_none_or(|entry| is_in_the_way(present, entry));
    let all: BTreeSet<&PathBuf> =
        present.keys().filter(|path| !kept.contains(path.as_path()) && is_surplus(path)).collect();
    let is_below = |path: &Path| path.ancestors().skip(1).any(|above| all.contains(&above.to_path_buf()));
    all.iter().filter(|path| !is_below(path)).map(|path| path.to_path_buf()).collect()
}

/// Lists the entries that are to be sent.
fn differing(present: &Present, listing: &Listing) -> Vec<Entry> {
    let mut sent = BTreeSet::new();
    let mut differing = Vec::new();
    for entry in &listing.entries {
        let there = present.get(&entry.path);
        let is_same = there.is_some_and(|there| match &entry.kind {
            Kind::Directory => there.mode & KIND == DIRECTORY,
            Kind::File { size, .. } => {
                let attributes = (there.mode & KIND, there.mode & PERMISSIONS, there.size, there.modified);
                attributes == (FILE, entry.mode, *size, entry.modified)
            }
            // Its target is not known, and a link is small.
            Kind::Link(_) => false,
            // The first name is another file once it is sent.
            Kind::HardLink(of) => there.mode & KIND == FILE && !sent.contains(of),
        });
        if !is_same {
            sent.insert(entry.path.clone());
            differing.push(entry.clone());
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64, modified: u64) -> Entry {
        let kind = Kind::File { size, digest: [0; 32], has_holes: false };
        Entry { path: path.into(), place: None, kind, mode: 0o644, owner: None, modified }
    }

    fn of_kind(path: &str, kind: Kind) -> Entry {
        Entry { kind, ..file(path, 0, 1) }
    }

    fn listing(entries: Vec<Entry>) -> Listing {
        Listing { root: "/src".into(), entries, excluded: Vec::new() }
    }

    fn present(entries: &[(&str, u32, u64, u64)]) -> Present {
        let entry = |(path, mode, size, modified): &(&str, u32, u64, u64)| {
            (path.into(), GuestEntry { path: path.into(), mode: *mode, size: *size, modified: *modified })
        };
        entries.iter().map(entry).collect()
    }

    fn paths(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    #[test]
    fn a_file_is_sent_if_anything_but_its_name_differs() {
        let wanted = listing(vec![
            of_kind("d", Kind::Directory),
            file("d/same", 3, 5),
            file("longer", 4, 5),
            file("missing", 3, 5),
            file("mode", 3, 5),
            file("touched", 3, 6),
        ]);
        let there = present(&[
            ("d", 0o040_700, 4096, 9),
            ("d/same", 0o100_644, 3, 5),
            ("longer", 0o100_644, 3, 5),
            ("mode", 0o100_600, 3, 5),
            ("touched", 0o100_644, 3, 5),
        ]);
        assert_eq!(paths(&differing(&there, &wanted)), ["longer", "missing", "mode", "touched"]);
        assert_eq!(differing(&Present::new(), &wanted).len(), 6);
    }

    #[test]
    fn another_name_of_a_file_that_is_sent_is_sent_too() {
        let wanted = listing(vec![
            file("a", 3, 5),
            of_kind("b", Kind::HardLink("a".into())),
            of_kind("l", Kind::Link("a".into())),
        ]);
        let same = [("a", 0o100_644, 3, 5), ("b", 0o100_644, 3, 5), ("l", 0o120_777, 1, 5)];
        assert_eq!(paths(&differing(&present(&same), &wanted)), ["l"]);
        let other = [("a", 0o100_644, 3, 4), same[1], same[2]];
        assert_eq!(paths(&differing(&present(&other), &wanted)), ["a", "b", "l"]);
    }

    #[test]
    fn what_the_host_does_not_have_is_surplus_unless_it_is_spared() {
        let wanted =
            listing(vec![file("a", 3, 5), of_kind("d", Kind::Directory), of_kind("was-file", Kind::Directory)]);
        let there = present(&[
            ("a", 0o100_644, 3, 5),
            ("d", 0o040_755, 0, 5),
            ("d/old", 0o100_644, 0, 5),
            ("gone", 0o040_755, 0, 5),
            ("gone/x", 0o100_644, 0, 5),
            ("logs", 0o040_755, 0, 5),
            ("logs/a.log", 0o100_644, 0, 5),
            ("logs/b", 0o100_644, 0, 5),
            ("was-file", 0o100_644, 0, 5),
        ]);
        let spared = Exclude::new(&["*.log".to_string()]).unwrap();
        let expected = ["d/old", "gone", "logs/b", "was-file"].map(PathBuf::from);
        assert_eq!(surplus(&there, &wanted, &spared), expected);
    }
}
