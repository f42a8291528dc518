//! What the benchmarks have in common: commands, what they take, and a machine that is deleted when a benchmark ends.

// Each benchmark uses a part of it.
#![allow(dead_code)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const SNAPTREE: &str = env!("CARGO_BIN_EXE_snaptree");

/// A name for a machine on the host's libvirt. The machine is deleted with this, however the benchmark ends.
pub struct Machine {
    pub name: String,
    /// Waits in a process of its own until this one ends, and deletes the machine.
    undertaker: Child,
}

impl Machine {
    pub fn new() -> Result<Self> {
        Self::named("")
    }

    /// A further one.
    pub fn named(suffix: &str) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let name = format!("snaptree-bench-{}{suffix}", std::process::id());
        let mut undertaker = Command::new("sh");
        undertaker.args(["-c", "read -r _; exec \"$@\"", "sh", SNAPTREE, "delete", &name, "--yes", "--force"]);
        // Keys typed at the benchmark's terminal, such as ^C, are not for it.
        let undertaker = undertaker.process_group(0).stdin(Stdio::piped()).spawn().context("cannot start sh")?;
        Ok(Self { name, undertaker })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // This also closes its stdin, which is what it waits for.
        let ended = self.undertaker.wait();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking(), "`{}` is left", self.name);
    }
}

pub fn snaptree(args: &[&str]) -> Command {
    let mut command = Command::new(SNAPTREE);
    command.args(args);
    command
}

pub fn virsh(args: &[&str]) -> Command {
    let mut command = Command::new("virsh");
    command.args(args);
    command
}

/// Runs a command that succeeds, and returns what it prints.
pub fn run(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} prints no UTF-8"))
}

pub fn timed(command: Command) -> Result<Duration> {
    let started = Instant::now();
    run(command)?;
    Ok(started.elapsed())
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// What a process in the guest of [`build_live`] has in its memory alone.
pub const NONCE: &str = "nonce-4711";
/// Asks that process for it; no other program is started.
pub const ASK: &str = "echo >/run/ask; read -r told </run/told; echo $told";

/// Builds a Debian machine: `live` is of a guest with a warm MariaDB that had come to rest, `down` is the same guest shut
/// down, and `booted` one on the bare image that had booted and come to rest. Takes some minutes for `apt-get`.
pub fn build_live(machine: &str, memory: &str) -> Result<()> {
    build(&format!(
        r#"
        local root = machine("{machine}", {{ image = require "images.debian" {{}}, memory = "{memory}" }}):root "base"
        root:branch("booted", function(guest) guest:run "sleep 10" end)
        local live = root:branch("live", function(guest)
          require("mariadb").install(guest)
          guest:run "mkfifo /run/ask /run/told"
          guest:run "setsid sh -c 'nonce={NONCE}; while read -r x; do echo $nonce >/run/told; done <>/run/ask' </dev/null >/dev/null 2>&1 &"
          guest:run "sleep 10"
        end)
        live:branch("down", function(guest) guest:run "true" end, {{ live = false }})
        "#
    ))
}

/// Runs a script.
pub fn build(lines: &str) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let script = directory.path().join("bench.lua");
    std::fs::write(&script, lines).context("cannot write the script")?;
    run(snaptree(&["run", script.to_str().context("the path is not UTF-8")?]))?;
    Ok(())
}
