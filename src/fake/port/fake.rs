//! A connection to the fake hypervisor, and what it says of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Because, Error, Result};
use crate::fake::change::live;
use crate::fake::guests::guest::FakeGuest;
use crate::fake::record::answer::Answer;
use crate::fake::record::store::Store;
use crate::hypervisor::{Accelerator, Facts, Hypervisor, Neighbours, Version};

/// What the URIs begin with.
pub const SCHEME: &str = "fake:";

/// Names a JSON file with a list of answers, which take precedence over those in the state.
const ANSWERS_VARIABLE: &str = "SNAPTREE_FAKE_ANSWERS";

/// Connects to `fake:` or `fake:PATH`. Each connection to `fake:` begins with an empty state.
///
/// Fails if `PATH` is not a file that this could have written, or cannot be written.
pub fn connect(uri: &str) -> Result<Arc<dyn Hypervisor>> {
    let path = uri
        .strip_prefix(SCHEME)
        .ok_or_else(|| Error::usage(format!("`{uri}` is no fake connection")).hint("write `fake:` or `fake:PATH`"))?;
    let store = if path.is_empty() { Store::in_memory() } else { Store::in_file(Path::new(path))? };
    let answers = match std::env::var_os(ANSWERS_VARIABLE) {
        Some(path) => read_answers(&PathBuf::from(path))?,
        None => Vec::new(),
    };
    Ok(Arc::new(Fake { uri: uri.to_string(), store: Arc::new(store), answers: answers.into() }))
}

fn read_answers(path: &Path) -> Result<Vec<Answer>> {
    let failed = || format!("cannot read the fake guests' answers from `{}`", path.display());
    let text = std::fs::read_to_string(path).because(failed)?;
    serde_json::from_str(&text)
        .because(failed)
        .map_err(|error| error.hint(format!("${ANSWERS_VARIABLE} names a JSON file with a list of answers")))
}

pub(super) struct Fake {
    uri: String,
    pub(super) store: Arc<Store>,
    pub(super) answers: Arc<[Answer]>,
}

impl Fake {
    pub(super) fn fake_guest(&self, domain: &str) -> Result<FakeGuest> {
        self.store.look(|state| match state.record(domain)?.is_active() {
            true => Ok(()),
            false => Err(Error::failed(format!("domain `{domain}` is not running"))),
        })?;
        Ok(FakeGuest::new(domain, self.store.clone(), self.answers.clone()))
    }
}

impl Facts for Fake {
    fn uri(&self) -> String {
        self.uri.clone()
    }

    fn version(&self) -> Result<Version> {
        self.store.look(|state| Ok(state.version.0))
    }

    fn accelerator(&self) -> Result<Accelerator> {
        Ok(Accelerator::Kvm)
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        matches!(*self.store, Store::File(_))
    }

    fn emulator(&self) -> Result<String> {
        Ok(live::EMULATOR.to_string())
    }

    fn neighbours(&self) -> Neighbours {
        self.store.look(|state| Ok(state.neighbours())).unwrap_or_default()
    }
}
