use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::exclude::Exclude;
use super::listing::{Kind, Listing, Reading};
use super::pack::{Packing, pack};
use super::unpack::{Unpacking, is_there, unpack};

const ROOTS: Packing = Packing { owner: (0, 0), keeps_holes: true, leaves_out_parents: false };

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with all that is difficult: empty directories, links, odd and long names, holes, private modes.
fn difficult() -> TempDir {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    write(&at("a"), b"one", 0o600);
    write(&at("sub/run"), b"#!/bin/sh\n", 0o700);
    fs::create_dir_all(at("empty/inner")).unwrap();
    symlink("/nowhere/at/all", at("dangling")).unwrap();
    symlink("../a", at("sub/link")).unwrap();
    symlink("x/".repeat(100), at("far")).unwrap();
    fs::hard_link(at("a"), at("zz")).unwrap();
    write(&at("-x"), b"a name like an option", 0o644);
    write(&source.path().join(OsStr::from_bytes(b"line\nbreak \xff\\")), b"odd", 0o644);
    let long = ["n".repeat(200), "m".repeat(200), "o".repeat(120)].iter().collect::<PathBuf>();
    write(&source.path().join(long), b"long", 0o644);
    let mut odd = vec![0xff; 120];
    odd.extend(b"end");
    write(&source.path().join(OsStr::from_bytes(&odd)), b"long and odd", 0o644);
    let holes = fs::File::create(at("holes")).unwrap();
    for n in 0..60 {
        holes.write_all_at(&[n as u8 + 1; 4096], n << 20).unwrap();
    }
    holes.set_len(64 << 20).unwrap();
    source
}

fn packed(source: &Path, reading: &Reading, packing: Packing) -> Vec<u8> {
    let listing = Listing::of(source, reading).unwrap();
    let mut archive = Vec::new();
    pack(source, &listing.entries, packing, &mut archive).unwrap();
    archive
}

fn digest(directory: &Path, reading: &Reading) -> String {
    Listing::of(directory, reading).unwrap().digest()
}

fn whole() -> Reading {
    Reading { keeps_modes: true, ..Reading::default() }
}

#[test]
fn what_is_packed_comes_out_as_it_was() {
    let source = difficult();
    let archive = packed(source.path(), &whole(), ROOTS);
    assert!(archive.len() < 1 << 20, "{} bytes", archive.len());
    let target = tempfile::tempdir().unwrap();
    let unpacking = Unpacking { keeps_modes: true, ..Unpacking::default() };
    unpack(&archive[..], target.path(), &unpacking).unwrap();
    assert_eq!(digest(target.path(), &whole()), digest(source.path(), &whole()));
    let of = |directory: &TempDir, name: &str| directory.path().join(name).symlink_metadata().unwrap();
    assert!(of(&target, "holes").blocks() * 512 <= 1 << 20);
    assert_eq!(of(&target, "a").ino(), of(&target, "zz").ino());
    for name in ["a", "empty", "empty/inner", "dangling"] {
        assert_eq!(of(&target, name).mtime(), of(&source, name).mtime(), "{name}");
    }
    // Once more into the same, and what is there is known.
    assert!(is_there(&archive[..], target.path(), &unpacking).unwrap());
    unpack(&archive[..], target.path(), &unpacking).unwrap();
    fs::write(target.path().join("sub/run"), "other").unwrap();
    assert!(!is_there(&archive[..], target.path(), &unpacking).unwrap());
}

#[test]
fn the_systems_tar_reads_what_is_packed_and_the_other_way_round() {
    let source = difficult();
    let target = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar").arg("-xpf-").current_dir(target.path()).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&packed(source.path(), &whole(), ROOTS)).unwrap();
    assert!(tar.wait().unwrap().success());
    assert_eq!(digest(target.path(), &whole()), digest(source.path(), &whole()));
    assert!(target.path().join("holes").metadata().unwrap().blocks() * 512 <= 1 << 20);

    let archive =
        Command::new("tar").args(["--sparse", "-cf-", "."]).current_dir(source.path()).output().unwrap().stdout;
    let back = tempfile::tempdir().unwrap();
    unpack(&archive[..], back.path(), &Unpacking { keeps_modes: true, ..Unpacking::default() }).unwrap();
    assert_eq!(digest(back.path(), &whole()), digest(source.path(), &whole()));
    assert!(back.path().join("holes").metadata().unwrap().blocks() * 512 <= 1 << 20);
}

#[test]
fn modes_are_the_usual_ones_unless_they_are_kept() {
    let source = difficult();
    let target = tempfile::tempdir().unwrap();
    fs::create_dir(target.path().join("sub")).unwrap();
    fs::set_permissions(target.path().join("sub"), fs::Permissions::from_mode(0o711)).unwrap();
    unpack(&packed(source.path(), &whole(), ROOTS)[..], target.path(), &Unpacking::default()).unwrap();
    let mode = |name: &str| target.path().join(name).metadata().unwrap().mode() & 0o7777;
    // A directory that was there keeps its own.
    assert_eq!(["a", "sub/run", "empty", "sub"].map(mode), [0o644, 0o755, 0o755, 0o711]);
    let usual = Reading::default();
    assert_eq!(digest(target.path(), &usual), digest(source.path(), &usual));
}

#[test]
fn the_digest_is_of_everything_but_times() {
    let (one, other) = (difficult(), difficult());
    let usual = Reading::default();
    assert_eq!(digest(one.path(), &usual), digest(other.path(), &usual));
    let at = |name: &str| other.path().join(name);
    let mut digests = vec![digest(one.path(), &usual)];
    let mut differs = || {
        let now = digest(other.path(), &usual);
        assert!(!digests.contains(&now));
        digests.push(now);
    };
    write(&at("-x"), b"another", 0o644);
    differs();
    write(&at("-x"), b"another", 0o744);
    differs();
    fs::create_dir(at("empty/second")).unwrap();
    differs();
    fs::remove_file(at("dangling")).unwrap();
    symlink("/elsewhere", at("dangling")).unwrap();
    differs();
    fs::remove_file(at("zz")).unwrap();
    write(&at("zz"), b"one", 0o644);
    differs();
    fs::rename(at("-x"), at("-y")).unwrap();
    differs();
    write(&at("-y"), b"another", 0o700);
    assert_eq!(
        digest(other.path(), &usual),
        *digests.last().unwrap(),
        "other permission bits differ from host to host"
    );
    assert_ne!(digest(other.path(), &whole()), digest(one.path(), &whole()));
}

#[test]
fn what_is_excluded_is_neither_packed_nor_unpacked() {
    let source = difficult();
    let exclude = Exclude::new(&["/sub".to_string(), "n*".to_string(), "inner/".to_string()]).unwrap();
    let reading = Reading { exclude: exclude.clone(), ..Reading::default() };
    let names = |directory: &Path| -> Vec<PathBuf> {
        Listing::of(directory, &Reading::default()).unwrap().entries.into_iter().map(|entry| entry.path).collect()
    };
    let listed: Vec<PathBuf> =
        Listing::of(source.path(), &reading).unwrap().entries.into_iter().map(|entry| entry.path).collect();
    assert!(listed.contains(&"empty".into()) && listed.len() == names(source.path()).len() - 7, "{listed:?}");
    let target = tempfile::tempdir().unwrap();
    let unpacking = Unpacking { exclude, ..Unpacking::default() };
    unpack(&packed(source.path(), &whole(), ROOTS)[..], target.path(), &unpacking).unwrap();
    assert_eq!(names(target.path()), listed);
}

#[test]
fn special_files_are_refused_by_name() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("run")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.path().join("run/sock")).unwrap();
    let error = Listing::of(source.path(), &Reading::default()).unwrap_err().to_string();
    let expected = "`run/sock` in it is a socket\nhint: leave it out: exclude = { \"/run/sock\" }";
    assert_eq!(error, format!("cannot copy `{}`: {expected}", source.path().display()));
    let skipping = Reading { skips_special: true, ..Reading::default() };
    assert_eq!(Listing::of(source.path(), &skipping).unwrap().entries.len(), 1);
}

#[test]
fn parents_are_left_out_for_a_tar_that_would_change_them() {
    let source = difficult();
    let packing = Packing { keeps_holes: false, leaves_out_parents: true, owner: (7, 8) };
    let archive = packed(source.path(), &Reading::default(), packing);
    let mut archive = tar::Archive::new(&archive[..]);
    let mut directories = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (7, 8));
        assert_ne!(entry.header().entry_type(), EntryType::GNUSparse);
        if entry.header().entry_type().is_dir() {
            directories.push(entry.path().unwrap().into_owned());
        }
    }
    assert_eq!(directories, [Path::new("empty/inner")]);
}

#[test]
fn a_file_that_changes_while_it_is_packed_is_an_error() {
    let source = difficult();
    let listing = Listing::of(source.path(), &Reading::default()).unwrap();
    write(&source.path().join("-x"), b"longer than it was before", 0o644);
    let error = pack(source.path(), &listing.entries, ROOTS, std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "-x: it changed meanwhile");
    assert!(listing.entries.iter().any(|entry| matches!(entry.kind, Kind::HardLink(_))));
}

/// An archive whose names are taken as they are.
fn hostile(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let is_file = kind.is_file();
        header.set_size(if is_file { content.len() as u64 } else { 0 });
        if !is_file {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, if is_file { content.as_bytes() } else { b"" }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    use EntryType as E;
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), "mine").unwrap();
    fs::set_permissions(outside.join("mine"), fs::Permissions::from_mode(0o640)).unwrap();
    let away = outside.to_str().unwrap();
    let (absolute, mine) = (format!("{away}/new"), format!("{away}/mine"));
    let attacks: &[&[(E, &str, &str)]] = &[
        &[(E::Regular, "../outside/new", "x")],
        &[(E::Regular, "a/../../outside/new", "x")],
        &[(E::Regular, &absolute, "x")],
        &[(E::Symlink, "link", away), (E::Regular, "link/new", "x")],
        &[(E::Symlink, "link", "../outside"), (E::Regular, "link/mine", "x")],
        &[(E::Symlink, "link", away), (E::Directory, "link/new", "")],
        &[(E::Symlink, "link", away), (E::Directory, "link", "")],
        &[(E::Symlink, "link", ".."), (E::Symlink, "second", "link/outside"), (E::Regular, "second/new", "x")],
        &[(E::Link, "hard", &mine)],
        &[(E::Link, "hard", "../outside/mine")],
        &[(E::Symlink, "link", &mine), (E::Link, "hard", "link"), (E::Regular, "hard", "x")],
        &[(E::Symlink, "link", away), (E::Link, "hard", "link/mine")],
        &[(E::Regular, "f", "x"), (E::Symlink, "link", away), (E::Link, "link/mine", "f")],
        &[(E::Regular, "f", "x"), (E::Link, "was/mine", "f")],
        &[(E::Regular, "was/new", "x")],
        &[(E::Directory, "was", "")],
        &[(E::Directory, "was/new", "")],
        &[(E::Fifo, "pipe", "")],
        &[(E::Char, "device", "")],
    ];
    for (n, attack) in attacks.iter().enumerate() {
        let target = place.path().join(format!("target{n}"));
        fs::create_dir(&target).unwrap();
        // A link that was there before.
        symlink(&outside, target.join("was")).unwrap();
        let error = unpack(&hostile(attack)[..], &target, &Unpacking { keeps_modes: true, ..Unpacking::default() });
        assert!(error.is_err(), "{attack:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{attack:?}");
        let mine = outside.join("mine");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine", "{attack:?}");
        let metadata = mine.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o640, 1), "{attack:?}");
        assert_eq!(outside.metadata().unwrap().mode() & 0o7000, 0, "{attack:?}");
    }
    // A link that a file takes the place of is not followed.
    let target = place.path().join("replaced");
    fs::create_dir(&target).unwrap();
    let attack = [(E::Symlink, "link", mine.as_str()), (E::Regular, "link", "x")];
    unpack(&hostile(&attack)[..], &target, &Unpacking::default()).unwrap();
    assert_eq!(fs::read_to_string(outside.join("mine")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(target.join("link")).unwrap(), "x");
}
