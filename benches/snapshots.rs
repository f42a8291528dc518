//! What the snapshot verbs cost against virsh's, on the same domain and in turns.
//!
//! `cargo bench --bench snapshots` builds a machine of its own and deletes it in the end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
const MACHINE: &str = "snaptree-bench";
const SCRIPT: &str = "machine('snaptree-bench', { image = require('images.tiny') {}, memory = '256MiB' }):root 'base'";

fn main() {
    let _machine = Machine::new();
    println!("medians of {ROUNDS}, in turns");

    let n = std::cell::Cell::new(0);
    let take = |tool: fn(&str) -> Command| {
        n.set(n.get() + 1);
        let name = format!("s{}", n.get());
        let took = timed(tool(&name));
        run(snaptree(&["delete", &format!("{MACHINE}/{name}"), "--yes"]));
        took
    };
    compare(
        "snapshot of the disks, shut off",
        || take(|name| snaptree(&["snapshot", MACHINE, name])),
        || take(|name| virsh(&["snapshot-create-as", MACHINE, name, "--disk-only"])),
    );
    run(snaptree(&["snapshot", MACHINE, "cold"]));
    compare(
        "revert to a disk snapshot, shut off",
        || timed(snaptree(&["revert", &format!("{MACHINE}/cold"), "--yes"])),
        || {
            // Twice in one second is more than virsh's can do.
            std::thread::sleep(Duration::from_millis(1100));
            timed(virsh(&["snapshot-revert", MACHINE, "cold"]))
        },
    );

    run(virsh(&["start", MACHINE]));
    std::thread::sleep(Duration::from_secs(15));
    compare(
        "snapshot of the disks, running",
        || take(|name| snaptree(&["snapshot", MACHINE, name, "--disk-only"])),
        || take(|name| virsh(&["snapshot-create-as", MACHINE, name, "--disk-only"])),
    );
    run(snaptree(&["snapshot", MACHINE, "warm"]));
    compare(
        "revert to a snapshot with RAM, running (ours keeps the RAM that it leaves)",
        || timed(snaptree(&["revert", &format!("{MACHINE}/warm"), "--yes"])),
        || timed(virsh(&["snapshot-revert", MACHINE, "warm"])),
    );
    compare(
        "undo of that revert, with RAM, against the revert",
        || timed(snaptree(&["undo", MACHINE])),
        || timed(virsh(&["snapshot-revert", MACHINE, "warm"])),
    );
}

/// The machine, which goes when the benchmark ends, however it ends.
struct Machine;

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = directory.path().join("bench.lua");
        std::fs::write(&script, SCRIPT).expect("a script");
        let mut build = Command::new(env!("CARGO_BIN_EXE_snaptree"));
        build.arg("run").arg(script);
        run(build);
        Self
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        run(snaptree(&["delete", MACHINE, "--yes", "--force"]));
    }
}

fn snaptree(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snaptree"));
    command.args(args);
    command
}

fn virsh(args: &[&str]) -> Command {
    let mut command = Command::new("virsh");
    command.args(args);
    command
}

fn compare(what: &str, mut ours: impl FnMut() -> Duration, mut virshs: impl FnMut() -> Duration) {
    let (mut of_ours, mut of_virsh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_virsh.push(virshs());
        of_ours.push(ours());
    }
    let (ours, virsh) = (median(of_ours), median(of_virsh));
    println!("{what}: snaptree {ours:?}, virsh {virsh:?}, ratio {:.2}", ours.as_secs_f64() / virsh.as_secs_f64());
}

fn timed(command: Command) -> Duration {
    let started = Instant::now();
    run(command);
    started.elapsed()
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("a command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
