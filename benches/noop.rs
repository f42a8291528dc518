//! What a run costs that has nothing to build: against `virsh snapshot-list` of the same machine, in turns.
//!
//! `cargo bench --bench noop [-- SCRIPT MACHINE]`; without arguments `scripts/hello.lua`, built first where need be.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 21;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (script, machine) = match words.as_slice() {
        [script, machine] => (script.as_str(), machine.as_str()),
        _ => ("scripts/hello.lua", "hello"),
    };
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snaptree"));
        command.args(["run", script]);
        command
    };
    let list = || {
        let mut command = Command::new("virsh");
        command.args(["snapshot-list", machine]);
        command
    };
    timed(run());
    let (mut ours, mut virsh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        virsh.push(timed(list()));
        ours.push(timed(run()));
    }
    let (ours, virsh) = (median(ours), median(virsh));
    let ratio = ours.as_secs_f64() / virsh.as_secs_f64();
    println!("medians of {ROUNDS}: snaptree run {ours:?}, virsh snapshot-list {virsh:?}, ratio {ratio:.2}");
}

fn timed(mut command: Command) -> Duration {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
