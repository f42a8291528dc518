//! Files and directories copied between the host and a real guest.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::lab::Lab;

fn content(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            found.extend(content(&path).iter().map(|below| format!("{name}/{below}")));
        } else if metadata.is_symlink() {
            found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else {
            found.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "needs QEMU"]
#[expect(clippy::too_many_lines, reason = "one guest is too dear for several tests")]
fn copies_have_the_manners_of_docker() {
    let lab = Lab::new("copies");
    let live = "machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root('base'):branch('one', function(guest)
        guest:write('/root/made', 'by the step')
    end)";
    lab.script(live).any_stderr().run();
    let snapshot = format!("{}/one", lab.machine);
    let fork = lab.snaptree(&["fork", &snapshot]).any_stdout().any_stderr().run().stdout.trim().to_string();
    let here = tempfile::tempdir().unwrap();
    let path = |name: &str| here.path().join(name).to_str().unwrap().to_string();
    let there = |name: &str| format!("{fork}:{name}");
    fs::create_dir_all(here.path().join("source/sub")).unwrap();
    fs::write(path("source/a"), "one").unwrap();
    fs::write(path("source/sub/b"), "two").unwrap();
    fs::set_permissions(path("source/sub/b"), PermissionsExt::from_mode(0o600)).unwrap();
    symlink("a", path("source/link")).unwrap();
    let all = ["a 644 one", "link -> a", "sub/b 600 two"];
    let copy = |from: &str, to: &str| lab.snaptree(&["cp", from, to]).any_stderr().run();

    // Under a new name, into a directory that is there, and only what is in it.
    copy(&path("source"), &there("/root/new"));
    copy(&path("source"), &there("/root/"));
    copy(&path("source/."), &there("/mnt"));
    for place in ["/root/new", "root/source/", "/mnt/."] {
        let to = path(&format!("back{}", place.replace('/', "_")));
        copy(&there(place), &to);
        assert_eq!(content(Path::new(&to)), all, "{place}");
    }
    copy(&there("/root/new"), here.path().to_str().unwrap());
    assert_eq!(content(&here.path().join("new")), all);
    // One file, both ways, and from a snapshot.
    copy(&path("source/sub/b"), &there("/root"));
    copy(&there("/root/b"), &path("renamed"));
    assert_eq!(fs::read_to_string(path("renamed")).unwrap(), "two");
    copy(&format!("{snapshot}:/root/made"), &path("made"));
    assert_eq!(fs::read_to_string(path("made")).unwrap(), "by the step");
    copy(&there("/root/b"), "/dev/null");
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    fs::write(path("much"), &much).unwrap();
    copy(&path("much"), &there("/root/much"));
    copy(&there("/root/much"), &path("much-back"));
    assert!(fs::read(path("much-back")).unwrap() == much);
    // As archives.
    let archive = lab.snaptree(&["cp", &there("/root/b"), "-"]).any_stdout().any_stderr().run().stdout;
    lab.snaptree(&["cp", "-", &there("/srv")]).stdin(archive.clone()).status(1).any_stderr().run();
    lab.snaptree(&["cp", "-", &there("/tmp")]).stdin(archive).any_stderr().run();
    lab.snaptree(&["exec", &fork, "--", "cat", "/tmp/b"]).stdout("two").any_stderr().run();

    for (from, to, error) in [
        (there("/nope"), path("x"), "cannot read `/nope` in the guest: No such file or directory".to_string()),
        (path("nope"), there("/"), format!("cannot read `{}`: No such file or directory", path("nope"))),
        (path("made"), there("/no/"), "cannot write `/no/` in the guest: no such directory".to_string()),
        (there("/root/b"), path("none/"), format!("cannot write `{}`: no such directory", path("none/"))),
        (
            path("source"),
            there("/root/b"),
            format!("cannot write `/root/b` in the guest: it is a file, and `{}` is a directory", path("source")),
        ),
        (
            there("/etc"),
            path("made"),
            format!("cannot write `{}`: it is a file, and `/etc` in the guest is a directory", path("made")),
        ),
        (path("much"), there("/no/where"), "cannot write `/no/where` in the guest: no such directory".to_string()),
    ] {
        lab.snaptree(&["cp", &from, &to]).status(1).stderr(&format!("error: {error}\n")).run();
    }
    lab.snaptree(&["stop", &fork]).any_stderr().run();
    lab.assert_no_clone_is_left();
}
