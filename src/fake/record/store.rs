//! Where the state lives: in this connection, or in a file that several processes share.

use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Kind, Result};
use crate::fake::record::state::State;

pub enum Store {
    Memory(Box<Mutex<State>>),
    File(PathBuf),
}

impl Store {
    pub fn in_memory() -> Self {
        Store::Memory(Box::default())
    }

    /// Opens the state in `path` and creates it when there is none.
    pub fn in_file(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).because(|| cannot_use(path))?;
        let store = Store::File(path.clone());
        // A file that cannot be used is reported at once.
        let checked = if path.exists() { store.look(|_| Ok(())) } else { store.change(|_| Ok(())) };
        checked.map_err(|mut error| {
            error.kind = Kind::Unavailable;
            error
        })?;
        Ok(store)
    }

    /// Reads the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        match self {
            Store::Memory(state) => look(&state.lock()),
            Store::File(path) => {
                let _lock = lock(path)?;
                look(&read(path)?)
            }
        }
    }

    /// Changes the state: all of it or, if `change` fails, nothing.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        match self {
            Store::Memory(state) => {
                let mut state = state.lock();
                let mut changed = state.clone();
                let result = change(&mut changed)?;
                *state = changed;
                Ok(result)
            }
            Store::File(path) => {
                let _lock = lock(path)?;
                let mut state = read(path)?;
                let result = change(&mut state)?;
                write(path, &state)?;
                Ok(result)
            }
        }
    }
}

fn cannot_use(path: &Path) -> String {
    format!("cannot keep the fake hypervisor's state in `{}`", path.display())
}

/// Locks the state until the returned file is closed. The lock is a file of its own because the state's is replaced.
fn lock(path: &Path) -> Result<File> {
    if path.is_dir() {
        return Err(Error::failed(cannot_use(path)).cause("it is a directory").hint("name a file: `fake:PATH`"));
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".lock");
    let open = || {
        let file = File::options().create(true).write(true).truncate(false).open(path.with_file_name(name))?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    open()
        .because(|| cannot_use(path))
        .map_err(|error| error.hint("name a file in a directory that exists and can be written"))
}

fn read(path: &Path) -> Result<State> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(Error::failed(cannot_use(path)).cause(error)),
    };
    let mut state: State = serde_json::from_str(&text)
        .because(|| format!("cannot read the fake hypervisor's state in `{}`", path.display()))
        .map_err(|error| error.hint("fix the file, or delete it to start over"))?;
    state.complete();
    Ok(state)
}

fn write(path: &Path, state: &State) -> Result<()> {
    let write = || {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer_pretty(&mut file, state)?;
        file.write_all(b"\n")?;
        file.persist(path)?;
        Ok::<_, std::io::Error>(())
    };
    write().because(|| cannot_use(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> Error {
        Store::in_file(path).err().expect("the file is refused")
    }

    #[test]
    fn a_missing_file_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        Store::in_file(&path).unwrap();
        assert_eq!(read(&path).unwrap(), State::default());
        assert!(path.exists());
    }

    #[test]
    fn a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = error(directory.path());
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(error.causes, ["it is a directory"]);
    }

    #[test]
    fn a_file_in_a_missing_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = error(&directory.path().join("missing/state.json"));
        assert_eq!(error.causes, ["No such file or directory"]);
    }

    #[test]
    fn a_malformed_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        for text in ["", "{", r#"[{"command": "true"}]"#, r#"{"answer": []}"#] {
            fs::write(&path, text).unwrap();
            assert!(error(&path).message.starts_with("cannot read the fake hypervisor's state in `"), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_failed_change_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::in_file(&directory.path().join("state.json")).unwrap();
        let failed: Result<()> = store.change(|state| {
            state.started.push("a".into());
            Err(Error::failed("no"))
        });
        assert!(failed.is_err());
        assert!(store.look(|state| Ok(state.started.is_empty())).unwrap());
    }

    #[test]
    fn changes_from_many_threads_and_connections_are_all_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = Store::in_file(&path).unwrap();
                scope.spawn(move || {
                    for number in 0..25 {
                        let started = format!("{thread}-{number}");
                        store
                            .change(|state| {
                                state.started.push(started);
                                Ok(())
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(read(&path).unwrap().started.len(), 100);
    }
}
