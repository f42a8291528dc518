//! A run that has ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;

use serde_json::Value;
use tempfile::TempDir;

use super::compare::difference;
use super::text::normalise;
use super::{Expected, Test};

/// What a run left behind. Its directory goes with the last one that knows it.
pub struct Ran {
    directory: Rc<TempDir>,
    connect: Option<String>,
    env: BTreeMap<String, OsString>,
    /// The exit status, or 128 plus the signal that ended it.
    pub status: i32,
    /// With the directory as `[DIR]` and durations as `[TIME]`.
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub(super) fn new(
        directory: Rc<TempDir>,
        connect: Option<String>,
        env: BTreeMap<String, OsString>,
        status: ExitStatus,
        stdout: &[u8],
        stderr: &[u8],
    ) -> Self {
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let text = |bytes: &[u8]| normalise(&String::from_utf8_lossy(bytes), directory.path());
        let (stdout, stderr) = (text(stdout), text(stderr));
        Self { directory, connect, env, status, stdout, stderr }
    }

    /// Prepares another run in the same directory, with the same connection and environment.
    pub fn again(&self) -> Test {
        Test::in_directory(self.directory.clone(), self.connect.clone(), self.env.clone())
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Reads a file of the test's directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
    }

    /// The fake hypervisor's state; null where there is none.
    pub fn state(&self) -> Value {
        state_in(self.path())
    }

    /// The commands that ran in fake guests so far, over all runs in this directory.
    pub fn executed(&self) -> Vec<String> {
        list(&self.state()["executed"], |entry| &entry["command"])
    }

    /// The names of the clones that were started so far, over all runs in this directory.
    pub fn started(&self) -> Vec<String> {
        list(&self.state()["started"], |name| name)
    }

    /// The names of the domains that exist now.
    pub fn domains(&self) -> Vec<String> {
        self.state()["domains"].as_object().map(|domains| domains.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn compare(&self, expected: &Expected) -> Result<(), String> {
        let mut differences = Vec::new();
        if let Some(status) = expected.status.filter(|status| *status != self.status) {
            differences.push(format!("status: {}, expected {status}", self.status));
        }
        for (name, actual, expected) in
            [("stdout", &self.stdout, &expected.stdout), ("stderr", &self.stderr, &expected.stderr)]
        {
            if expected.as_ref().is_some_and(|expected| expected != actual) {
                let expected = expected.as_deref().unwrap_or_default();
                differences.push(format!("{name} (- expected, + actual):\n{}", difference(expected, actual)));
            }
        }
        for part in expected.stderr_parts.iter().filter(|part| !self.stderr.contains(part.as_str())) {
            differences.push(format!("stderr lacks `{part}`:\n{}", self.stderr));
        }
        if differences.is_empty() {
            return Ok(());
        }
        if expected.stderr.is_none() && expected.stderr_parts.is_empty() && !self.stderr.is_empty() {
            differences.push(format!("stderr was:\n{}", self.stderr));
        }
        Err(differences.join("\n"))
    }
}

pub(super) fn state_in(directory: &Path) -> Value {
    let text = std::fs::read_to_string(directory.join("state.json")).unwrap_or_else(|_| "null".to_string());
    serde_json::from_str(&text).expect("state.json is not JSON")
}

fn list(values: &Value, text: impl Fn(&Value) -> &Value) -> Vec<String> {
    let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().map(|value| text(value).as_str().unwrap_or_default().to_string()).collect()
}
