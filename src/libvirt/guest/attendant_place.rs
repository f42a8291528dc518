//! Where the process that attends a guest's channel is found.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::hypervisor::Ports;
use crate::paths::make_private;

/// The longest path of a socket, in bytes.
const LONGEST: usize = 107;
/// As much of a domain's uuid as is in names; it is random.
const DIGITS: usize = 16;

/// A socket, and a file whose lock an attendant holds while it lives, with the ports that it forwards.
#[derive(Clone, Debug)]
pub struct Place {
    socket: PathBuf,
    record: PathBuf,
}

impl Place {
    /// Returns the place for the domain with this uuid; `None` if the directory's path is too long for a socket.
    pub fn of(directory: &Path, uuid: &str) -> Option<Self> {
        let name: String = uuid.chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect();
        let socket = directory.join(format!("{name}.sock"));
        let record = directory.join(format!("{name}.json"));
        (socket.as_os_str().len() <= LONGEST).then_some(Self { socket, record })
    }

    /// Connects to the attendant. What a dead one left refuses it.
    pub fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.socket)
    }

    /// Says whether an attendant lives.
    pub fn is_attended(&self) -> bool {
        File::open(&self.record).is_ok_and(|record| matches!(record.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Returns what a living attendant forwards.
    pub fn ports(&self) -> Ports {
        if self.is_attended() { self.recorded() } else { Ports::default() }
    }

    fn recorded(&self) -> Ports {
        fs::read(&self.record).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Takes the place, if no attendant lives.
    pub fn claim(&self) -> io::Result<Option<Claim>> {
        make_private(self.record.parent().unwrap_or(Path::new("/")))?;
        loop {
            let mut options = File::options();
            let record = options.read(true).write(true).create(true).truncate(false).open(&self.record)?;
            match record.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // One that has just ended may have removed the file after it was opened here.
            let is_there = fs::metadata(&self.record).is_ok_and(|there| {
                record.metadata().is_ok_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
            });
            if is_there {
                return Ok(Some(Claim { place: self.clone(), record }));
            }
        }
    }
}

/// A place that was taken, until it is dropped.
pub struct Claim {
    place: Place,
    record: File,
}

impl Claim {
    /// Returns what an attendant forwarded that was killed here.
    pub fn left(&self) -> Ports {
        self.place.recorded()
    }

    /// Records what is forwarded.
    pub fn write(&mut self, ports: &Ports) -> io::Result<()> {
        self.record.set_len(0)?;
        self.record.rewind()?;
        self.record.write_all(&serde_json::to_vec(ports)?)
    }

    /// Listens, for this user alone.
    pub fn listen(&self) -> io::Result<UnixListener> {
        match fs::remove_file(&self.place.socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.place.socket)?;
        fs::set_permissions(&self.place.socket, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.place.socket);
        let _ = fs::remove_file(&self.place.record);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hypervisor::Forward;

    const UUID: &str = "4b1de0d5-3a3a-4b55-9a16-1fb5e10a2c70";

    #[test]
    fn one_attendant_lives_at_a_place_and_a_dead_one_leaves_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of(directory.path(), UUID).unwrap();
        assert!(place.socket.ends_with("4b1de0d53a3a4b55.sock") && !place.is_attended());
        let ports = Ports { forwards: vec![Forward { host: 1, guest: 2 }], back: Vec::new() };
        let mut first = place.claim().unwrap().unwrap();
        assert!(place.claim().unwrap().is_none() && place.is_attended());
        first.write(&Ports::default()).unwrap();
        first.write(&ports).unwrap();
        let listener = first.listen().unwrap();
        assert_eq!(fs::metadata(&place.socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(place.ports(), ports);
        place.connect().unwrap();
        // It is killed: its files stay.
        let Claim { record, .. } = &first;
        record.unlock().unwrap();
        drop(listener);
        std::mem::forget(first);
        assert_eq!((place.is_attended(), place.ports()), (false, Ports::default()));
        assert_eq!(place.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let second = place.claim().unwrap().unwrap();
        assert_eq!(second.left(), ports);
        let _listener = second.listen().unwrap();
        place.connect().unwrap();
        drop(second);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_too_deep_has_no_place() {
        let deep = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert!(Place::of(Path::new(&deep(LONGEST - DIGITS - 6)), UUID).is_some());
        assert!(Place::of(Path::new(&deep(LONGEST - DIGITS - 5)), UUID).is_none());
    }
}
