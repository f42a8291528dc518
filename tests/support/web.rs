//! A domain `web` that snaptree did not create, as a test writes it by hand in the fake hypervisor's own form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Ran, Test};

/// The domain in a directory of its own: shut off, with the disk `[DIR]/vm/web.qcow2`, whose file is there.
///
/// `[DIR]` stands for the test's directory in states and arguments, as in what the binary prints.
pub struct Web {
    pub test: Test,
    state: Value,
}

impl Web {
    pub fn new() -> Self {
        let web = json!({ "document": { "disks": { "vda": "[DIR]/vm/web.qcow2" } } });
        let state = json!({ "now": 1_700_000_000, "domains": { "web": web } });
        Self { test: Test::new().file("vm/web.qcow2", ""), state }.written()
    }

    pub fn running() -> Self {
        Self::new().with("domains/web/state", json!("running"))
    }

    fn written(self) -> Self {
        let text = self.here(&serde_json::to_string_pretty(&self.state).expect("a state is JSON"));
        Self { test: self.test.file("state.json", text), ..self }
    }

    /// Sets a value in the state, below objects that need not be there; null takes it out.
    pub fn with(mut self, place: &str, value: Value) -> Self {
        let mut at = &mut self.state;
        let (above, key) = place.rsplit_once('/').unwrap_or(("", place));
        for step in above.split('/').filter(|step| !step.is_empty()) {
            at = &mut at[step];
        }
        match value {
            Value::Null => drop(at.as_object_mut().expect("an object").remove(key)),
            value => at[key] = value,
        }
        self.written()
    }

    /// Sets a value in the state as it is after some runs.
    pub fn again_with(mut self, place: &str, value: Value) -> Self {
        let text = std::fs::read_to_string(self.test.path().join("state.json")).expect("cannot read the state");
        self.state = serde_json::from_str(&text).expect("a state is JSON");
        self.with(place, value)
    }

    /// Sets a value of the domain's document, such as `disks/vdb`.
    pub fn document(self, place: &str, value: Value) -> Self {
        self.with(&format!("domains/web/document/{place}"), value)
    }

    pub fn snapshot(self, name: &str, value: Value) -> Self {
        self.with("domains/web/snapshots", json!({ name: value }))
    }

    /// Makes a file, empty as those of fake disks are.
    pub fn file(self, name: &str) -> Self {
        Self { test: self.test.file(name, ""), ..self }
    }

    pub fn here(&self, text: &str) -> String {
        text.replace("[DIR]", &self.test.path().display().to_string())
    }

    /// Prepares a run; its arguments are separated by spaces.
    pub fn run(&self, args: &str) -> Test {
        self.test.again().args(self.here(args).split(' ').collect::<Vec<_>>())
    }

    /// Prepares a script in which `web` is the machine.
    pub fn script(&self, script: &str) -> Test {
        let script = format!("local web = machine.open 'web'\n{}", self.here(script.trim_start()));
        self.test.again().script(&script).args(["run", "script.lua"])
    }

    /// Checks what the command line refuses and why, and that nothing has changed.
    #[track_caller]
    pub fn refuses(self, args: &str, stderr: &str) -> Self {
        self.refuses_with(1, args, stderr)
    }

    #[track_caller]
    pub fn refuses_with(self, status: i32, args: &str, stderr: &str) -> Self {
        let (before, store) = (contents(self.test.path()), self.test.path().join("store"));
        let had_store = store.exists();
        self.run(args).status(status).stderr(&format!("error: {stderr}\n")).run();
        assert_same(&before, &contents(self.test.path()));
        assert_eq!(store.exists(), had_store, "the store came to be for a refusal");
        self
    }

    /// Checks what a statement is refused with from a script, below any lines of progress, and that nothing has changed.
    #[track_caller]
    pub fn refuses_statement(self, statement: &str, stderr: &str) -> Self {
        let run = self.script(statement);
        let before = contents(self.test.path());
        let ran = run.any_status().any_stderr().run();
        assert!(matches!(ran.status, 1 | 2), "status {}: {}", ran.status, ran.stderr);
        let (_, said) = ran.stderr.split_once("error: ").unwrap_or_else(|| panic!("no error: {}", ran.stderr));
        assert_eq!(said.strip_prefix("script.lua:2: ").unwrap_or(said), format!("{stderr}\n"), "{statement}");
        assert_same(&before, &contents(self.test.path()));
        self
    }

    /// Does something that succeeds.
    #[track_caller]
    pub fn does(&self, args: &str) -> Ran {
        self.run(args).any_stdout().any_stderr().run()
    }
}

/// Reads every file below a directory, without the fake hypervisor's own lock.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("cannot list a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if path.extension().is_none_or(|ending| ending != "lock") {
            let content = std::fs::read(&path).expect("cannot read a file");
            files.insert(path, content);
        }
    }
    files
}

/// Replaces points in time by `[WHEN]`.
pub fn undated(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00 00:00:00 +0000";
    let is_time = |bytes: &[u8]| {
        bytes.iter().zip(FORM).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form })
    };
    let mut text = text.to_string();
    while let Some(at) = text.as_bytes().windows(FORM.len()).position(is_time) {
        text.replace_range(at..at + FORM.len(), "[WHEN]");
    }
    text
}

/// Replaces the ids of processes in the names of files by `ID`.
pub fn without_ids(text: &str) -> String {
    let mut parts = text.split('-').map(str::to_string).collect::<Vec<_>>();
    for part in &mut parts {
        if part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            *part = "ID".to_string();
        }
    }
    parts.join("-")
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "files came or went");
    let changed: Vec<_> = before.iter().filter(|(path, content)| after.get(*path) != Some(content)).collect();
    assert!(changed.is_empty(), "these changed: {:?}", changed.iter().map(|(path, _)| path).collect::<Vec<_>>());
}
