//! What a fork of a live snapshot takes, in time and in memory, compared with a boot and with what virsh can do with
//! the same guest: a Debian of 1 GiB with a warm MariaDB.
//!
//! `cargo bench --bench forks` builds two machines of its own, for which it takes some ten minutes, and deletes them at
//! the end. A measurement ends when a process in the guest prints what only its memory holds or, for virsh's verbs,
//! when the agent answers.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use support::{ASK, Machine, NONCE, build_live, median, run, snaptree, timed, virsh};

const ROUNDS: usize = 7;
const AT_ONCE: u64 = 20;

fn main() -> Result<()> {
    let (one, two) = (Machine::new()?, Machine::named("twice")?);
    build_live(&one.name, "1GiB")?;
    build_live(&two.name, "2GiB")?;
    let vm = one.name.as_str();
    let live = format!("{vm}/live");
    println!("medians of {ROUNDS}, in turns");

    // What libvirt has for it: a snapshot with RAM of the same guest, running.
    run(snaptree(&["revert", &live, "--yes"]))?;
    let directory = tempfile::tempdir_in("/var/lib/snaptree")
        .or_else(|_| tempfile::tempdir())
        .context("cannot make a temporary directory")?;
    let memspec = format!("file={},snapshot=external", directory.path().join("native.ram").display());
    run(virsh(&["snapshot-create-as", vm, "native", "--memspec", &memspec, "--diskspec", "vda,snapshot=external"]))?;
    run(virsh(&["destroy", vm]))?;
    let clone = directory.path().join("clone.xml");

    let mut taken: [Vec<Duration>; 7] = Default::default();
    let mut stages = Stages::default();
    for _ in 0..ROUNDS {
        // Each of the two comes after the other and after something else, and often: they are as good as equal.
        let twice = format!("{}/live", two.name);
        for (which, snapshot) in [(0, &live), (1, &twice), (1, &twice), (0, &live)].repeat(2) {
            taken[which].push(answered(snapshot)?);
        }
        taken[6].push(timed(snaptree(&["-q", "exec", &live, "--", "true"]))?);
        stages.add(&live, &directory.path().join("trace.json"))?;
        taken[2].push(reverted(vm)?);
        taken[3].push(reverted(vm)?);
        // So that nothing else runs while the others are measured.
        run(virsh(&["destroy", vm]))?;
        taken[4].push(created(vm, &clone)?);
        taken[5].push(booted(&format!("{vm}/down"))?);
    }
    let [fork, twice, enter, revert, create, boot, exec] = taken.map(median);
    let ratio = |other: Duration| fork.as_secs_f64() / other.as_secs_f64();
    println!("fork of a live snapshot, until a process in it answered: {fork:.2?}");
    println!("  a fork that boots: {boot:.2?}, ratio {:.3}", ratio(boot));
    println!("  virsh snapshot-revert to a snapshot with RAM, running: {revert:.2?}, ratio {:.2}", ratio(revert));
    println!("  the same, shut off: {enter:.2?}, ratio {:.2}", ratio(enter));
    println!("  virsh create --paused: {create:.2?}, ratio {:.2}", ratio(create));
    println!("  a fork with twice the RAM: {twice:.2?}, ratio {:.2}", 1.0 / ratio(twice));
    let of_create = exec.as_secs_f64() / create.as_secs_f64();
    println!("snaptree exec of `true`, the whole process: {exec:.2?}, {of_create:.2} of virsh create --paused");
    stages.print();
    for (snapshot, what) in [("live", "that guest"), ("booted", "a guest that just booted")] {
        measure_memory(vm, snapshot, what)?;
    }
    Ok(())
}

/// What the stages of `exec` took, each time, by their names in a trace.
#[derive(Default)]
struct Stages(BTreeMap<String, Vec<(Duration, Duration)>>);

impl Stages {
    /// Traces one more.
    fn add(&mut self, snapshot: &str, trace: &Path) -> Result<()> {
        let mut command = snaptree(&["-q", "exec", snapshot, "--", "true"]);
        command.env("SNAPTREE_TRACE", trace);
        run(command)?;
        let text = std::fs::read_to_string(trace).context("there is no trace")?;
        let spans: Vec<serde_json::Value> = serde_json::from_str(&text).context("the trace is not JSON")?;
        for span in spans.iter().filter(|span| span["ph"] == "X") {
            let time = |key: &str| span[key].as_f64().map(|time| Duration::from_secs_f64(time / 1e6));
            let (name, began, took) = (span["name"].as_str(), time("ts"), time("dur"));
            let name = name.context("a span has no name")?.to_string();
            self.0.entry(name).or_default().push(began.zip(took).context("a span has no time")?);
        }
        Ok(())
    }

    /// Prints their medians, in the order in which they begin. Some are parts of others.
    fn print(self) {
        let medians = self.0.into_iter().map(|(name, times)| {
            let (began, took): (Vec<_>, Vec<_>) = times.into_iter().unzip();
            (median(began), median(took), name)
        });
        let mut medians: Vec<_> = medians.collect();
        medians.sort();
        for (began, took, name) in medians {
            println!("  at {:>5} ms for {:>5} ms: {name}", began.as_millis(), took.as_millis());
        }
    }
}

/// Starts many forks at once, whose guests do nothing, and prints what they add to the memory in use.
fn measure_memory(machine: &str, snapshot: &str, what: &str) -> Result<()> {
    const MIB: u64 = 1 << 20;
    let live = format!("{machine}/{snapshot}");
    let ram =
        std::fs::metadata(json(&["info", &live, "--json"])?["memory"].as_str().context("it is no live snapshot")?);
    let touched = ram.context("cannot look at its RAM")?.blocks() * 512;

    let before = available()?;
    let started = Instant::now();
    run(snaptree(&["-q", "fork", &live, "-n", &AT_ONCE.to_string()]))?;
    let took = started.elapsed();
    std::thread::sleep(Duration::from_secs(10));
    let each = before.saturating_sub(available()?) / AT_ONCE;
    let forks = json(&["info", machine, "--json"])?["forks"].as_array().context("there are no forks")?.clone();
    assert_eq!(forks.len() as u64, AT_ONCE);
    let own: u64 = forks.iter().filter_map(|fork| fork["memory"].as_u64()).sum();
    run(snaptree(&["-q", "stop", machine]))?;

    println!("{AT_ONCE} forks at once of {what}, which has touched {} MiB of its 1 GiB: {took:.1?}", touched / MIB);
    let percent = 100.0 * each as f64 / touched as f64;
    println!("  each adds {} MiB to the memory in use, {percent:.1} % of that", each / MIB);
    println!("  of its own it has {} MiB, by `snaptree info`", own / AT_ONCE / MIB);
    Ok(())
}

fn json(args: &[&str]) -> Result<serde_json::Value> {
    serde_json::from_str(&run(snaptree(args))?).context("it is not JSON")
}

/// What is available without swapping, in bytes.
fn available() -> Result<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("cannot read meminfo")?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable")).context("meminfo has no MemAvailable")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse::<u64>().ok())
        .context("MemAvailable is no number")?
        * 1024)
}

/// Starts a fork and waits until its process prints its nonce; the end of the fork is not counted.
fn answered(snapshot: &str) -> Result<Duration> {
    until(snaptree(&["-q", "exec", snapshot, "--", "sh", "-c", ASK]), NONCE)
}

fn booted(snapshot: &str) -> Result<Duration> {
    until(snaptree(&["-q", "exec", snapshot, "--", "echo", "up"]), "up")
}

fn until(mut command: Command, line: &str) -> Result<Duration> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start snaptree")?;
    let mut said = String::new();
    BufReader::new(child.stdout.take().context("there is no pipe")?)
        .read_line(&mut said)
        .context("cannot read a line")?;
    let took = started.elapsed();
    ensure!(said.trim_end() == line, "`{}` is not `{line}`", said.trim_end());
    ensure!(child.wait()?.success(), "{command:?} failed");
    Ok(took)
}

fn reverted(vm: &str) -> Result<Duration> {
    // virsh's cannot do it twice in one second.
    std::thread::sleep(Duration::from_millis(1100));
    let started = Instant::now();
    run(virsh(&["snapshot-revert", vm, "native"]))?;
    let ping = || virsh(&["qemu-agent-command", vm, r#"{"execute":"guest-ping"}"#]).output();
    while !ping().is_ok_and(|answer| answer.status.success()) {}
    Ok(started.elapsed())
}

/// Creates the same domain under another name, paused, and on no disk of its own, since it never runs.
fn created(vm: &str, file: &std::path::Path) -> Result<Duration> {
    let name = format!("{vm}.bare");
    let xml = run(virsh(&["snapshot-dumpxml", vm, "base"]))?;
    let domain = &xml[xml.find("<domain ").context("the XML has no domain")?
        ..xml.find("</domain>").context("the domain does not end")? + "</domain>".len()];
    let old = run(virsh(&["domuuid", vm]))?;
    let new = uuid::Uuid::new_v4().to_string();
    let domain =
        domain.replace(old.trim(), new.trim()).replace(&format!("<name>{vm}</name>"), &format!("<name>{name}</name>"));
    std::fs::write(
        file,
        domain.replace("<disk type='file' device='disk'>", "<disk type='file' device='disk'><readonly/>"),
    )
    .context("cannot use a file")?;
    let took = timed(virsh(&["create", "--paused", file.to_str().context("the path is not UTF-8")?]))?;
    run(virsh(&["destroy", &name]))?;
    Ok(took)
}
