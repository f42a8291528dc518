//! The store: one directory per machine, with its layers, its working disk and the kernel that its domain boots, if
//! any.
//!
//! A file's name ends in the id of the process that made it. A file that no domain and no snapshot refers to is debris
//! once that process is gone, as its lock file shows.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Because, Error, Result};
use crate::name::MachineName;
use crate::paths;
use crate::stop::{Interrupt, Stop};
use crate::tree::files::file_id::FileSet;

/// The ending of a lock file whose process has left the removal of what it made to another one.
const REMOVAL: &str = "removal";

/// A process that makes files and domains; it is alive as long as its lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(pub String);

pub struct Store {
    root: PathBuf,
    owner: Owner,
    /// Held from this process's first file on.
    alive: Mutex<Option<File>>,
    /// The machines whose trees this process may change.
    machines: Mutex<HashMap<MachineName, File>>,
    made: AtomicU64,
    /// Removed with the store if it is a temporary one.
    _temporary: Option<TempDir>,
}

impl Store {
    pub fn new(root: PathBuf) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self {
            root,
            owner: Owner(id[..12].to_string()),
            alive: Mutex::default(),
            machines: Mutex::default(),
            made: AtomicU64::new(0),
            _temporary: None,
        }
    }

    /// Makes a temporary store, removed when this process ends.
    pub fn temporary() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("snaptree-").tempdir();
        let directory = directory.because(|| "cannot make a temporary store".to_string())?;
        let mut store = Self::new(directory.path().to_path_buf());
        store._temporary = Some(directory);
        Ok(store)
    }

    /// Returns another owner's view of the same directory.
    pub fn beside(&self) -> Self {
        Self::new(self.root.clone())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns the directory of the machine with this uuid, whatever the machine's name was when it was made.
    pub fn directory_for(&self, machine: &MachineName, uuid: &str) -> PathBuf {
        let machines = self.root.join("machines");
        let entries = fs::read_dir(&machines).into_iter().flatten().flatten();
        let mut known = entries.filter(|entry| is_of(entry.file_name().to_str(), &whole(uuid)));
        known.next().map_or_else(|| machines.join(format!("{}-{}", machine.slug(), whole(uuid))), |known| known.path())
    }

    /// Lists the directories that may belong to the machine: another name can have the same slug.
    pub fn directories_of(&self, machine: &MachineName) -> Vec<PathBuf> {
        let prefix = format!("{}-", machine.slug());
        let entries = fs::read_dir(self.root.join("machines")).into_iter().flatten().flatten();
        let may_be = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        may_be.map(|entry| entry.path()).collect()
    }

    /// Creates a machine's directory. Other users may pass through it, as QEMU's own user must, but not list it.
    pub fn create_directory(&self, directory: &Path) -> Result<()> {
        paths::make_passable(directory)
            .because(|| format!("cannot create `{}`", directory.display()))
            .map_err(|error| error.hint("SNAPTREE_STORE names another directory for the store"))?;
        for directory in [self.root.as_path(), &self.root.join("machines"), directory] {
            // Only the owner can set the mode; another user's directory keeps the mode that its owner chose.
            let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o711));
        }
        Ok(())
    }

    /// Returns a name for a new file that contains its purpose and its maker.
    pub fn new_file(&self, directory: &Path, what: &str, ending: &str) -> Result<PathBuf> {
        self.stay_alive()?;
        let n = self.made.fetch_add(1, Ordering::SeqCst);
        Ok(directory.join(format!("{what}-{}-{n}.{ending}", self.owner.0)))
    }

    /// Finds a layer that was made for `what` before, by any process.
    pub fn sealed(&self, directory: &Path, what: &str) -> Option<PathBuf> {
        let is_it = |path: &PathBuf| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            maker(stem).is_some_and(|owner| stem.starts_with(&format!("{what}-{}-", owner.0)))
                && fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o222 == 0)
        };
        fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).find(is_it)
    }

    /// Returns an id for a new domain of this process.
    pub fn new_id(&self) -> Result<String> {
        self.stay_alive()?;
        Ok(format!("{}-{}", self.owner.0, self.made.fetch_add(1, Ordering::SeqCst)))
    }

    fn lock_path(&self, owner: &Owner) -> PathBuf {
        self.root.join("run").join(format!("{}.lock", owner.0))
    }

    /// The lock of a process that has ended, and whose clone another one is removing.
    fn removal_path(&self, owner: &Owner) -> PathBuf {
        self.lock_path(owner).with_extension(REMOVAL)
    }

    fn stay_alive(&self) -> Result<()> {
        let mut alive = self.alive.lock();
        if alive.is_none() {
            let path = self.lock_path(&self.owner);
            let lock = || {
                paths::make_passable(path.parent().unwrap_or(&self.root))?;
                let file = lock_file(&path)?;
                file.lock()?;
                std::io::Result::Ok(file)
            };
            *alive = Some(
                lock()
                    .because(|| format!("cannot write to the store `{}`", self.root.display()))
                    .map_err(|error| error.hint("SNAPTREE_STORE names another directory for the store"))?,
            );
        }
        Ok(())
    }

    /// Returns whether a process is still alive.
    pub fn is_alive(&self, owner: &Owner) -> bool {
        if *owner == self.owner {
            return true;
        }
        // In this order: the first becomes the second.
        [self.lock_path(owner), self.removal_path(owner)].iter().any(|path| is_held(path))
    }

    /// Leaves the removal of what this process has made to the process that gets the returned lock: until that ends, it
    /// counts as this one. Without such a process, [`Store::removed`] takes it back.
    pub fn leave_removal(&self) -> Result<File> {
        self.stay_alive()?;
        let cannot = || format!("cannot write to the store `{}`", self.root.display());
        let alive = self.alive.lock();
        let lock = alive.as_ref().map_or_else(|| Err(ErrorKind::NotFound.into()), File::try_clone).because(cannot)?;
        fs::rename(self.lock_path(&self.owner), self.removal_path(&self.owner)).because(cannot)?;
        Ok(lock)
    }

    /// Notes that what a process had left to be removed is gone.
    pub fn removed(&self, owner: &Owner) {
        let _ = fs::remove_file(self.removal_path(owner));
    }

    /// Waits until other processes have removed what was left to them, or until `stop` ends the wait.
    pub fn wait_for_removals(&self, stop: &Stop) {
        const PAUSE: Duration = Duration::from_millis(10);
        let entries = fs::read_dir(self.root.join("run")).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in entries.filter(|path| path.extension().is_some_and(|ending| ending == REMOVAL)) {
            while is_held(&path) && stop.check(String::new).is_ok() {
                stop.sleep(PAUSE);
            }
        }
    }

    /// Claims a machine's tree for the rest of this process, to change it. Returns whether another process had it
    /// meanwhile, so that the tree may have changed. `waiting` is called once if it has to wait.
    pub fn claim(&self, machine: &MachineName, interrupt: &Interrupt, waiting: impl FnOnce()) -> Result<bool> {
        if self.machines.lock().contains_key(machine) {
            return Ok(false);
        }
        self.stay_alive()?;
        let path = self.claim_path(machine);
        let file = lock_file(&path).because(|| format!("cannot write `{}`", path.display()))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    // Two threads of this process may come here together; one gets the claim.
                    if self.machines.lock().contains_key(machine) {
                        return Ok(false);
                    }
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    interrupt.check()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::Error(cause)) => {
                    return Err(Error::failed(format!("cannot lock `{}`", path.display())).cause(cause));
                }
            }
        }
        self.machines.lock().insert(machine.clone(), file);
        Ok(waiting.is_none())
    }

    /// Claims a machine's tree unless another process has it. Returns whether this process has it now.
    pub fn claim_if_free(&self, machine: &MachineName) -> Result<bool> {
        if self.machines.lock().contains_key(machine) {
            return Ok(true);
        }
        self.stay_alive()?;
        let path = self.claim_path(machine);
        let file = lock_file(&path).because(|| format!("cannot write `{}`", path.display()))?;
        let is_free = file.try_lock().is_ok();
        if is_free {
            self.machines.lock().insert(machine.clone(), file);
        }
        Ok(is_free)
    }

    /// Releases the claim on a machine's tree.
    pub fn release(&self, machine: &MachineName) {
        if self.machines.lock().remove(machine).is_some() {
            let _ = fs::remove_file(self.claim_path(machine));
        }
    }

    /// Returns whether a file or a domain was made by this process, according to its name.
    pub fn is_own(&self, name: &str) -> bool {
        maker(name).is_some_and(|owner| owner == self.owner)
    }

    /// Releases all claims.
    pub fn release_all(&self) {
        let machines: Vec<MachineName> = self.machines.lock().keys().cloned().collect();
        machines.iter().for_each(|machine| self.release(machine));
    }

    fn claim_path(&self, machine: &MachineName) -> PathBuf {
        let digest = blake3::hash(machine.as_str().as_bytes()).to_hex();
        self.root.join("run").join(format!("{}-{}.claim", machine.slug(), &digest[..8]))
    }

    /// Lists the files in a machine's directory whose maker is gone and that `referred` does not name.
    pub fn debris(&self, directory: &Path, referred: &FileSet) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let mut debris: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !referred.contains(path))
            .filter(|path| {
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                stem.and_then(maker).is_some_and(|owner| !self.is_alive(&owner))
            })
            .collect();
        debris.sort();
        debris
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.release_all();
        if self.alive.lock().take().is_some() {
            let _ = fs::remove_file(self.lock_path(&self.owner));
        }
    }
}

/// Returns whether a directory was made for the machine with this uuid, according to the directory's name.
pub fn is_directory_of(directory: &Path, uuid: &str) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    // Older versions wrote only the beginning of the uuid.
    is_of(name, &whole(uuid)) || is_of(name, uuid.get(..8).unwrap_or(uuid))
}

fn is_of(name: Option<&str>, id: &str) -> bool {
    name.and_then(|name| name.rsplit_once('-')).is_some_and(|(_, of)| of == id)
}

/// The uuid as one word.
fn whole(uuid: &str) -> String {
    uuid.replace('-', "")
}

/// Says whether a process holds the lock of another one; the file of one that nothing holds is removed.
fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(path);
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => true,
    }
}

/// Opens a lock file that other users cannot open: a lock held by one of them could not be explained.
fn lock_file(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Reads the maker of a file or a domain from its name, which ends in the maker's id and a number.
pub fn maker(name: &str) -> Option<Owner> {
    let mut parts = name.rsplitn(3, '-');
    let (number, owner) = (parts.next()?, parts.next()?);
    let is_ours =
        number.bytes().all(|b| b.is_ascii_digit()) && owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_hexdigit());
    is_ours.then(|| Owner(owner.to_string()))
}

/// Makes a layer read-only: it never changes once it has a name.
pub fn seal(layer: &Path) -> Result<()> {
    fs::set_permissions(layer, fs::Permissions::from_mode(0o400))
        .because(|| format!("cannot make `{}` read-only", layer.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_debris_only_when_its_maker_is_gone_and_nothing_refers_to_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("machines/m");
        let gone = Store::new(root.path().to_path_buf());
        gone.create_directory(&directory).unwrap();
        let [kept, lost] = ["kept", "lost"].map(|what| gone.new_file(&directory, what, "qcow2").unwrap());
        let here = Store::new(root.path().to_path_buf());
        let mine = here.new_file(&directory, "mine", "qcow2").unwrap();
        for path in [&kept, &lost, &mine, &directory.join("foreign.qcow2")] {
            fs::write(path, "").unwrap();
        }
        let referred = FileSet::from_iter([kept]);
        assert_eq!(here.debris(&directory, &referred), Vec::<PathBuf>::new());
        drop(gone);
        assert_eq!(here.debris(&directory, &referred), [lost]);
    }

    #[test]
    fn a_process_that_left_a_removal_is_alive_while_its_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("machines/m");
        let ending = Store::new(root.path().to_path_buf());
        ending.create_directory(&directory).unwrap();
        let file = ending.new_file(&directory, "fork", "qcow2").unwrap();
        fs::write(&file, "").unwrap();
        let owner = ending.owner().clone();
        let lock = ending.leave_removal().unwrap();
        drop(ending);
        let here = Store::new(root.path().to_path_buf());
        let debris = || here.debris(&directory, &FileSet::default());
        let stop = |limit| Stop::after(limit, &Interrupt::default());
        here.wait_for_removals(&stop(Duration::ZERO));
        assert!(here.is_alive(&owner) && debris().is_empty());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| here.wait_for_removals(&stop(Duration::from_secs(60))));
            drop(lock);
            waits.join().unwrap();
        });
        assert!(!here.is_alive(&owner));
        assert_eq!(debris(), [file]);
    }

    #[test]
    fn the_second_builder_of_a_machine_waits_for_the_first() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (Store::new(root.path().to_path_buf()), Store::new(root.path().to_path_buf()));
        let (machine, interrupt) = (MachineName::new("m").unwrap(), Interrupt::default());
        assert!(!first.claim(&machine, &interrupt, || panic!("no process holds it")).unwrap());
        assert!(!first.claim(&machine, &interrupt, || panic!("it is ours")).unwrap());
        let waited = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| second.claim(&machine, &interrupt, || first.release(&machine)));
            waiting.join().unwrap().unwrap()
        });
        assert!(waited);
    }
}
