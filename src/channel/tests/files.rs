//! Files, by the program that guests have.

use super::*;
use crate::channel::Reading;

fn read(session: &Session, path: &str) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    session.read(path, &mut bytes, &stop()).map(|length| {
        assert_eq!(length, bytes.len() as u64);
        bytes
    })
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_of_every_length_come_and_go_whole() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let path = file.to_str().unwrap();
    for length in [0, 1, 32 << 10, (256 << 10) + 1, 5_000_000, 7] {
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n * 7 + n / 251) as u8).collect();
        assert_eq!(session.write(path, &mut &bytes[..], None, &stop()).unwrap(), length as u64);
        assert!(std::fs::read(&file).unwrap() == bytes);
        assert!(read(&session, path).unwrap() == bytes);
    }
    assert!(String::from_utf8(read(&session, "/proc/self/status").unwrap()).unwrap().starts_with("Name:\tchannel\n"));
    assert_eq!(read(&session, "/dev/null").unwrap(), b"");
}

#[test]
fn a_file_keeps_its_mode_and_a_new_one_is_for_all_to_read() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let path = file.to_str().unwrap();
    let write = |mode| session.write(path, &mut &b"x"[..], mode, &stop()).unwrap();
    write(None);
    assert_eq!(mode(&file), 0o644);
    write(Some(0o4750));
    assert_eq!(mode(&file), 0o4750);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    write(None);
    assert_eq!(mode(&file), 0o600);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("new"), &link).unwrap();
    session.write(link.to_str().unwrap(), &mut &b"x"[..], Some(0o640), &stop()).unwrap();
    assert_eq!(mode(&directory.path().join("new")), 0o640);
}

#[test]
fn what_cannot_be_read_or_written_is_said_in_the_systems_words() {
    let (_guest, session) = Guest::session();
    assert_eq!(text_of(read(&session, "/no/where")), "cannot read `/no/where` in the guest: No such file or directory");
    assert_eq!(text_of(read(&session, "/tmp")), "cannot read `/tmp` in the guest: Is a directory");
    let write = |path: &str, bytes: &[u8]| text_of(session.write(path, &mut &bytes[..], None, &stop()));
    assert_eq!(write("/no/where", b""), "cannot write `/no/where` in the guest: No such file or directory");
    assert_eq!(write("/tmp", b""), "cannot write `/tmp` in the guest: Is a directory");
    let much = vec![0; 3_000_000];
    assert_eq!(write("/dev/full", &much), "cannot write `/dev/full` in the guest: No space left on device");
    // The host's part may fail too.
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let error = text_of(session.write("/dev/null", &mut Broken, None, &stop()));
    assert_eq!(error, "cannot read what is to be in `/dev/null`: broken");
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = text_of(session.read("/proc/self/status", &mut Broken, &stop()));
    assert_eq!(error, "cannot keep what was read from `/proc/self/status` in the guest: full");
    assert_eq!(ran(&session, &Command::argv(["echo", "on"])), said(0, "on\n", ""));
}

#[test]
fn a_pipe_without_another_end_holds_up_nothing_else() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let path = pipe.to_str().unwrap();
    assert_eq!(ran(&session, &Command::argv(["mkfifo", path])).0, 0);
    let error = text_of(session.write(path, &mut &b"x"[..], None, &stop()));
    assert_eq!(error, format!("cannot write `{path}` in the guest: No such device or address"));
    let writer = format!("exec 3<>{path}; echo there >&3; sleep 0.5");
    std::thread::scope(|scope| {
        scope.spawn(|| ran(&session, &shell(&writer)));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(read(&session, path).unwrap(), b"there\n");
    });
    assert_eq!(ran(&session, &Command::argv(["echo", "on"])), said(0, "on\n", ""));
}

#[test]
fn a_long_file_is_told_from_a_short_one_before_it_is_read() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, vec![7; 3_000_000]).unwrap();
    let read = |limit| {
        let mut bytes = Vec::new();
        (session.read_below(file.to_str().unwrap(), &mut bytes, Some(limit), &stop()).unwrap(), bytes.len())
    };
    assert_eq!(read(3_000_000), (Reading::Long(3_000_000), 0));
    assert_eq!(read(3_000_001), (Reading::Whole(3_000_000), 3_000_000));
    // A file without a size is read to its end.
    let mut status = Vec::new();
    assert!(matches!(session.read_below("/proc/self/status", &mut status, Some(1), &stop()), Ok(Reading::Whole(1..))));
}
