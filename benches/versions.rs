//! What this version costs compared with another binary of snaptree, on the same tree and in turns: a run that builds
//! nothing, a command in a fork of a live snapshot, a branch that is frozen with its RAM, and reverts.
//!
//! `cargo bench --bench versions -- PATH` takes the other binary and builds a machine of its own, deleted at the end.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use support::{Machine, median, run, snaptree, timed};

const ROUNDS: usize = 15;

fn main() -> anyhow::Result<()> {
    let other =
        std::env::args().skip(1).find(|word| !word.starts_with("--")).context("give the path of another snaptree")?;
    let machine = Machine::new()?;
    let vm = machine.name.as_str();
    let directory = tempfile::tempdir()?;
    let script = |name: &str, rest: &str| -> anyhow::Result<String> {
        let path = directory.path().join(name);
        let root = format!("machine('{vm}', {{ image = require('images.tiny') {{}}, memory = '128MiB' }}):root 'root'");
        std::fs::write(&path, format!("local root = {root}\n{rest}"))?;
        Ok(path.to_str().context("a path in UTF-8")?.to_string())
    };
    let whole = script("whole.lua", "root:branch('live', function(guest) guest:run 'true' end)")?;
    run(snaptree(&["run", &whole]))?;
    run(snaptree(&["snapshot", vm, "cold"]))?;
    let (live, cold) = (format!("{vm}/live"), format!("{vm}/cold"));
    println!("medians of {ROUNDS}, in turns");
    let compare = |what: &str, args: &[&str]| compare(what, Path::new(&other), args);
    compare("a run that builds nothing", &["run", &whole])?;
    compare("a command in a fork of a live snapshot", &["exec", &live, "--", "true"])?;
    compare("a revert to a snapshot of the disks", &["revert", &cold, "--yes"])?;
    compare("a revert to a live snapshot", &["revert", &live, "--yes"])?;
    freeze(Path::new(&other), &|n| {
        let step = format!("root:branch('frozen', function(guest) guest:run 'echo {n}' end)");
        script("frozen.lua", &format!("root = root:branch('live', function(guest) guest:run 'true' end)\n{step}"))
    })
}

fn compare(what: &str, other: &Path, args: &[&str]) -> anyhow::Result<()> {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..ROUNDS {
        let mut before = Command::new(other);
        before.args(args);
        // Who is first alternates, since the second one finds the files of the first in memory.
        let mut both = [before, snaptree(args)].into_iter().zip(&mut times).collect::<Vec<_>>();
        if round % 2 == 1 {
            both.reverse();
        }
        for (command, times) in both {
            times.push(timed(command)?);
        }
    }
    say(what, times);
    Ok(())
}

/// Each of the two builds a branch that the other has not built.
fn freeze(other: &Path, script: &dyn Fn(usize) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..ROUNDS {
        let path = script(2 * round)?;
        let mut before = Command::new(other);
        before.args(["run", &path]);
        times[0].push(timed(before)?);
        let path = script(2 * round + 1)?;
        times[1].push(timed(snaptree(&["run", &path]))?);
    }
    say("a branch on a live snapshot, frozen with its RAM", times);
    Ok(())
}

fn say(what: &str, times: [Vec<Duration>; 2]) {
    let [before, now] = times.map(median);
    println!("{what}: before {before:.1?}, now {now:.1?}, ratio {:.2}", now.as_secs_f64() / before.as_secs_f64());
}
