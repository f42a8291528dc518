//! What a person waits for at the prompt: its first line, compared with `virsh list`, and a completion among many
//! snapshots.
//!
//! `cargo bench --bench prompt`. The snapshots are `virsh snapshot-create-as --redefine`d copies of one.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rexpect::process::PtyProcess;
use support::{Machine, median, run, snaptree, timed, virsh};

const ROUNDS: usize = 15;
const SNAPSHOTS: usize = 1000;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let vm = machine.name.as_str();
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let script = directory.path().join("bench.lua");
    let line =
        format!("machine('{vm}', {{ image = require 'images.tiny' {{}}, memory = '128MiB' }}):root 'snapshot-0'");
    std::fs::write(&script, line).context("cannot write the script")?;
    run(snaptree(&["-q", "run", script.to_str().context("the path is not UTF-8")?]))?;
    let document = run(virsh(&["snapshot-dumpxml", vm, "snapshot-0", "--security-info"]))?;
    let file = directory.path().join("snapshot.xml");
    for n in 1..SNAPSHOTS {
        let copy = document.replace("<name>snapshot-0</name>", &format!("<name>snapshot-{n}</name>"));
        std::fs::write(&file, copy).context("cannot use a file")?;
        run(virsh(&["-q", "snapshot-create", vm, "--redefine", file.to_str().context("the path is not UTF-8")?]))?;
    }

    let (mut prompts, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        lists.push(timed(virsh(&["list"]))?);
        let started = Instant::now();
        let prompt = open()?;
        prompts.push(started.elapsed());
        drop(prompt);
    }
    let (prompt, list) = (median(prompts), median(lists));
    let ratio = prompt.as_secs_f64() / list.as_secs_f64();
    println!("medians of {ROUNDS}, in turns");
    println!("to the first prompt: {prompt:.1?}; virsh list: {list:.1?}; ratio {ratio:.2}");

    let mut prompt = open()?;
    let mut completions = Vec::new();
    for _ in 0..ROUNDS {
        completions.push(completed(&mut prompt, &format!("use '{vm}/snapshot-99"))?);
    }
    println!("a completion among {SNAPSHOTS} snapshots: {:.1?}", median(completions));
    Ok(())
}

/// A prompt in a terminal, read without a pause.
struct Prompt {
    terminal: File,
    seen: String,
    _process: PtyProcess,
}

impl Prompt {
    /// Waits until this is shown, and forgets everything up to it.
    fn see(&mut self, text: &str) -> Result<()> {
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            let length = self.terminal.read(&mut bytes).context("cannot read the terminal")?;
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        let end = self.seen.find(text).map_or(0, |at| at + text.len());
        self.seen.drain(..end);
        Ok(())
    }

    fn keys(&mut self, keys: &str) -> Result<()> {
        self.terminal.write_all(keys.as_bytes()).context("cannot type")
    }
}

/// Opens a prompt and waits until it is there.
fn open() -> Result<Prompt> {
    let mut command = snaptree(&["-q", "repl"]);
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    let process = PtyProcess::new(command).context("cannot open a terminal")?;
    let terminal = process.get_file_handle().context("the terminal has no other end")?;
    let mut prompt = Prompt { terminal, seen: String::new(), _process: process };
    prompt.see("snaptree> ")?;
    Ok(prompt)
}

/// Types the beginning of a name, and waits for the list of those that begin so.
fn completed(prompt: &mut Prompt, text: &str) -> Result<Duration> {
    prompt.keys(text)?;
    prompt.see("snapshot-99")?;
    let started = Instant::now();
    prompt.keys("\t\t")?;
    prompt.see("snapshot-999")?;
    let took = started.elapsed();
    prompt.keys("\u{15}")?;
    prompt.see("\u{1b}[K")?;
    Ok(took)
}
