//! Directories that go into a real guest and come out of it: Debian's GNU tar, and busybox's.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::lab::{CHANNEL, Lab};
use crate::support::Test;

const LIVE: &str = r#"
    local one = machine(MACHINE, { image = IMAGE, memory = "512MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
    local fork <close> = one:fork()
"#;

fn with(lab: &Lab, image: &str, script: &str) -> Test {
    lab.script(&format!("{}\n{script}", LIVE.replace("IMAGE", image)))
}

/// A directory with all that is difficult.
fn difficult(source: &Path) {
    let at = |name: &str| source.join(name);
    fs::create_dir_all(at("sub/deep")).unwrap();
    fs::create_dir_all(at("empty/inner")).unwrap();
    fs::write(at("a"), "one").unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("sub/run"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(at("sub/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("../a", at("sub/link")).unwrap();
    symlink("/nowhere/".repeat(20), at("far")).unwrap();
    fs::hard_link(at("a"), at("zz")).unwrap();
    fs::write(at("-x"), "a name like an option").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"line\nbreak \xff\\")), "odd").unwrap();
    let long: std::path::PathBuf = ["n".repeat(150), "m".repeat(150)].iter().collect();
    fs::create_dir_all(at(long.to_str().unwrap()).parent().unwrap()).unwrap();
    fs::write(source.join(long), "long").unwrap();
    let holes = fs::File::create(at("holes")).unwrap();
    holes.write_all_at(b"data", 20 << 20).unwrap();
    holes.set_len(30 << 20).unwrap();
    holes.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
}

/// Every path below a directory, with what is there.
fn content(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let (name, metadata) = (path.file_name().unwrap().to_string_lossy(), path.symlink_metadata().unwrap());
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if metadata.is_dir() {
            found.push(format!("{name}/ {mode:o}"));
            found.extend(content(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            let digest = blake3::hash(&fs::read(&path).unwrap()).to_hex();
            found.push(format!("{name} {mode:o} {digest} {} {}", metadata.nlink(), metadata.mtime()));
        }
    }
    found.sort();
    found
}

fn check(lab: &Lab, image: &str, has_gnu_tar: bool) {
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name);
    difficult(&at("source"));
    let blocks = at("source/holes").metadata().unwrap().blocks();
    assert!(blocks < 100, "the host's file system keeps holes");
    let script = r#"
      fork:push("SOURCE", "/root/usual")
      fork:push("SOURCE", "/root/whole", { preserve = true })
      fork:push("SOURCE", "/root/owned", { owner = "1:1", exclude = { "holes", "n*" } })
      print(fork:run "/root/usual/sub/run; stat -c '%a %u' /root/usual/a /root/usual/sub /root/whole/a /root/whole/sub/run"
        .stdout)
      print(fork:run "stat -c '%a %u' /root/owned/sub/link /root/owned/empty; find /root/owned -mindepth 1 -maxdepth 1 -print0 | tr -dc '\\0' | wc -c; stat -c %b /root/usual/holes"
        .stdout)
      fork:pull("/root/whole", "BACK/whole", { preserve = true })
      fork:pull("/root/usual", "BACK/usual")
      -- Into what is there: neither links nor modes change.
      fork:run "mkdir -p /mnt/real /mnt/tree/sub; ln -s /mnt/real /mnt/tree/empty; chmod 711 /mnt/tree/sub"
      fork:push("SOURCE", "/mnt/tree", { exclude = { "holes", "n*" } })
      print(fork:run "ls /mnt/real; stat -c '%a %F' /mnt/tree/empty /mnt/tree/sub; find /mnt/tree -mindepth 1 -maxdepth 1 -print0 | tr -dc '\\0' | wc -c".stdout)
      -- Only what differs is sent.
      fork:run "cd /root/usual && echo more >> -x && touch surplus && mkdir old && touch old/x && stat -c %i holes > /root/before"
      fork:sync_dir("SOURCE", "/root/usual", { exclude = { "old" }, delete = true })
      print(fork:run "cd /root/usual; stat -c %i holes | cmp - /root/before && cat ./-x; [ -e surplus ] || echo ' gone'; ls old".stdout)
      print(pcall(fork.push, fork, "SOURCE", "/no/such"))
    "#;
    let script =
        script.replace("SOURCE", at("source").to_str().unwrap()).replace("BACK", here.path().to_str().unwrap());
    let ran = with(lab, image, &script).any_stdout().any_stderr().run();
    let said: Vec<&str> = ran.stdout.split("\n\n").collect();
    assert_eq!(said[0], "ran\n644 0\n755 0\n600 0\n4755 0");
    let owned: Vec<&str> = said[1].lines().collect();
    // busybox leaves links to root.
    assert_eq!(owned[..3], [if has_gnu_tar { "777 1" } else { "777 0" }, "755 1", "7"]);
    let holes: u64 = owned[3].parse().unwrap();
    assert_eq!(holes < 1000, has_gnu_tar, "{holes} blocks");
    assert_eq!(content(&at("whole")), content(&at("source")));
    if has_gnu_tar {
        assert!(at("whole/holes").metadata().unwrap().blocks() < 1000);
    }
    let usual = content(&at("usual"));
    assert!(usual.iter().any(|line| line.starts_with("sub/run 755 ")) && usual.len() == content(&at("source")).len());
    assert_eq!(said[2], "inner\n777 symbolic link\n711 directory\n7");
    assert_eq!(said[3], "a name like an option gone\nx");
    assert!(said[4].contains("cannot write `/no/such` in the guest: "), "{}", said[4]);
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn directories_keep_what_they_have_with_gnu_tar() {
    check(&Lab::new("gnu-trees"), "require 'images.debian' {}", true);
}

#[test]
#[ignore = "needs QEMU"]
fn directories_keep_what_they_have_with_busybox() {
    check(&Lab::new("tiny-trees"), "tiny {}", false);
}

#[test]
#[ignore = "needs QEMU"]
fn directories_go_through_the_agent_alone_too() {
    let lab = Lab::new("agent-trees");
    let here = tempfile::tempdir().unwrap();
    let source = here.path().join("source");
    difficult(&source);
    let script = format!(
        "fork:push('{0}', '/root/whole', {{ preserve = true }}) fork:pull('/root/whole', '{0}-back', {{ preserve = true }})
         fork:sync_dir('{0}', '/root/whole')",
        source.display()
    );
    with(&lab, "tiny {}", &script).env(CHANNEL, "agent").any_stderr().run();
    assert_eq!(content(&here.path().join("source-back")), content(&source));
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_without_tar_says_so() {
    let lab = Lab::new("no-tar");
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join("source")).unwrap();
    let script = "
        fork:run 'rm -f $(command -v tar)'
        print(pcall(fork.push, fork, 'HERE/source', '/root/new'))
        print(pcall(fork.pull, fork, '/etc', 'HERE/etc'))
        print(pcall(fork.pull, fork, '/etc', '/nowhere/x'))";
    let script = script.replace("HERE", here.path().to_str().unwrap());
    let ran = with(&lab, "require 'images.debian' {}", &script).any_stdout().any_stderr().run();
    let why = "there is no `tar` in the guest\nhint: install it there";
    for error in ["cannot write `/root/new` in the guest", "cannot read `/etc` in the guest"] {
        assert!(ran.stdout.contains(&format!("{error}: {why}")), "{}", ran.stdout);
    }
    assert!(ran.stdout.contains("cannot write `/nowhere/x`: No such file or directory"), "{}", ran.stdout);
    lab.assert_no_clone_is_left();
}
