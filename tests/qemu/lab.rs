//! A machine on the host's libvirt, removed with all its files when the test ends, however it ends.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::{Ran, Test};

/// The variable that chooses the way into guests, for all tests too.
pub const CHANNEL: &str = "SNAPTREE_CHANNEL";

/// In the command line of a process that removes a fork.
pub const REMOVAL: &str = "\0remove-fork\0";

/// A store that QEMU can reach, and a machine name that no other test uses.
pub struct Lab {
    pub machine: String,
    pub store: PathBuf,
    pub uri: &'static str,
    test: Ran,
}

impl Lab {
    pub fn new(name: &str) -> Self {
        let uri = if is_root() { "qemu:///system" } else { "qemu:///session" };
        Self::on(uri, name)
    }

    pub fn on(uri: &'static str, name: &str) -> Self {
        let unique = format!("snaptree-test-{}-{}", std::process::id(), name.replace(|c: char| !c.is_ascii(), "_"));
        let store = store_base().join(unique.replace([' ', '/', '"', '\''], "_"));
        std::fs::create_dir_all(&store).unwrap();
        let test = Test::new()
            .connect(uri)
            .env("SNAPTREE_STORE", &store)
            .env("SNAPTREE_CACHE", image_cache())
            .env("HOME", std::env::var_os("HOME").unwrap())
            .env(CHANNEL, std::env::var_os(CHANNEL).unwrap_or_default())
            .env("XDG_RUNTIME_DIR", std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default())
            .args(["--version"])
            .any_stdout()
            .run();
        Self { machine: format!("test-{}-{name}", std::process::id()), store, uri, test }
    }

    /// Prepares a run whose script has the machine's name as `MACHINE` and the tiny image as `tiny`.
    pub fn script(&self, text: &str) -> Test {
        let machine = self.machine.replace('\\', "\\\\").replace('"', "\\\"");
        let script = format!("local MACHINE, tiny = \"{machine}\", require \"images.tiny\" {text}");
        self.test.again().script(&script).args(["run", "script.lua"]).limit(Duration::from_secs(600))
    }

    pub fn snaptree(&self, args: &[&str]) -> Test {
        self.test.again().args(args.iter().copied()).limit(Duration::from_secs(300))
    }

    pub fn exec(&self, snapshot: &str, command: &[&str]) -> Test {
        let path = format!("{}/{snapshot}", self.machine);
        self.snaptree(&[&["exec", &path, "--"], command].concat())
    }

    pub fn virsh(&self, args: &[&str]) -> String {
        let output = self.try_virsh(args);
        assert!(output.status.success(), "virsh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn try_virsh(&self, args: &[&str]) -> Output {
        Command::new("virsh").args(["-q", "-c", self.uri]).args(args).output().unwrap()
    }

    /// The tree as virsh draws it, without blank lines.
    pub fn virsh_tree(&self) -> String {
        shape(&self.virsh(&["snapshot-list", &self.machine, "--tree"]))
    }

    /// The domains of this test that are there, in any state, once those that are being removed are gone; no other test
    /// has a name that begins with its.
    pub fn domains(&self) -> Vec<String> {
        self.wait_for_removals();
        let names = self.virsh(&["list", "--all", "--name"]);
        names.lines().filter(|name| name.starts_with(&self.machine)).map(str::to_string).collect()
    }

    /// Fails when another domain of this test than its machine is there.
    #[track_caller]
    pub fn assert_no_clone_is_left(&self) {
        assert_eq!(self.domains(), std::slice::from_ref(&self.machine));
    }

    /// The processes that have the test's machine or its store in their command line, without those that remove forks.
    pub fn processes(&self) -> Vec<String> {
        self.wait_for_removals();
        self.processes_now().into_iter().map(|(_, line)| line).collect()
    }

    /// All of them: their numbers and their command lines.
    pub fn processes_now(&self) -> Vec<(u32, String)> {
        let process = |entry: std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, String::from_utf8_lossy(&line).into_owned()))
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(process);
        processes.filter(|(_, line)| line.contains(&self.machine)).collect()
    }

    /// Waits for the processes that remove forks of commands that have ended.
    fn wait_for_removals(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.processes_now().iter().any(|(_, line)| line.contains(REMOVAL)) {
            assert!(Instant::now() < deadline, "a fork is not removed: {:?}", self.processes_now());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every file in the store.
    pub fn files(&self) -> Vec<PathBuf> {
        self.wait_for_removals();
        let (mut files, mut directories) = (Vec::new(), vec![self.store.clone()]);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() { directories.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for domain in self.domains() {
            self.try_virsh(&["destroy", &domain]);
            self.try_virsh(&["undefine", &domain, "--snapshots-metadata", "--nvram"]);
        }
        // A trial's domain has no name of ours.
        for process in self.processes() {
            if let Some(domain) = super::foreign::between(&process, "guest=", ",") {
                self.try_virsh(&["destroy", domain]);
            }
        }
        std::fs::remove_dir_all(&self.store).unwrap();
        let log = PathBuf::from("/var/log/libvirt/qemu");
        for entry in std::fs::read_dir(log).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.machine) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A drawn tree without its blank lines and the mark of the current snapshot.
pub fn shape(tree: &str) -> String {
    let lines = tree.lines().map(|line| line.trim_end().trim_end_matches(" (current)"));
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap())
}

fn store_base() -> PathBuf {
    if is_root() { PathBuf::from("/var/lib/snaptree-test") } else { home().join(".local/share/snaptree-test") }
}

/// The user's own cache, so that the tiny image is built once and not by every test.
fn image_cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from).join("snaptree")
}
