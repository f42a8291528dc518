//! What the snapshot verbs cost compared with virsh's, on the same domain and in turns.
//!
//! `cargo bench --bench snapshots` builds a machine of its own and deletes it at the end.

mod support;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use support::{Machine, median, run, snaptree, timed, virsh};

const ROUNDS: usize = 9;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let vm = machine.name.as_str();
    build(vm)?;
    println!("medians of {ROUNDS}, in turns");

    let n = std::cell::Cell::new(0);
    let take = |tool: &dyn Fn(&str) -> Command| {
        n.set(n.get() + 1);
        let name = format!("s{}", n.get());
        let took = timed(tool(&name))?;
        run(snaptree(&["delete", &format!("{vm}/{name}"), "--yes"]))?;
        Ok(took)
    };
    compare(
        "snapshot of the disks, shut off",
        || take(&|name| snaptree(&["snapshot", vm, name])),
        || take(&|name| virsh(&["snapshot-create-as", vm, name, "--disk-only"])),
    )?;
    run(snaptree(&["snapshot", vm, "cold"]))?;
    compare(
        "revert to a disk snapshot, shut off",
        || timed(snaptree(&["revert", &format!("{vm}/cold"), "--yes"])),
        || {
            // virsh's cannot do it twice in one second.
            std::thread::sleep(Duration::from_millis(1100));
            timed(virsh(&["snapshot-revert", vm, "cold"]))
        },
    )?;

    run(virsh(&["start", vm]))?;
    std::thread::sleep(Duration::from_secs(15));
    compare(
        "snapshot of the disks, running",
        || take(&|name| snaptree(&["snapshot", vm, name, "--disk-only"])),
        || take(&|name| virsh(&["snapshot-create-as", vm, name, "--disk-only"])),
    )?;
    run(snaptree(&["snapshot", vm, "warm"]))?;
    compare(
        "revert to a snapshot with RAM, running (ours keeps the RAM that it leaves)",
        || timed(snaptree(&["revert", &format!("{vm}/warm"), "--yes"])),
        || timed(virsh(&["snapshot-revert", vm, "warm"])),
    )?;
    compare(
        "undo of that revert, with RAM, against the revert",
        || timed(snaptree(&["undo", vm])),
        || timed(virsh(&["snapshot-revert", vm, "warm"])),
    )?;
    Ok(())
}

/// Builds the machine.
fn build(name: &str) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let script = directory.path().join("bench.lua");
    let text = format!("machine('{name}', {{ image = require('images.tiny') {{}}, memory = '256MiB' }}):root 'base'");
    std::fs::write(&script, text).context("cannot write the script")?;
    run(snaptree(&["run", script.to_str().context("the path is not UTF-8")?]))?;
    Ok(())
}

fn compare(
    what: &str,
    mut ours: impl FnMut() -> Result<Duration>,
    mut virshs: impl FnMut() -> Result<Duration>,
) -> Result<()> {
    let (mut of_ours, mut of_virsh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_virsh.push(virshs()?);
        of_ours.push(ours()?);
    }
    let (ours, virsh) = (median(of_ours), median(of_virsh));
    println!("{what}: snaptree {ours:?}, virsh {virsh:?}, ratio {:.2}", ours.as_secs_f64() / virsh.as_secs_f64());
    Ok(())
}
