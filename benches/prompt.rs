//! What a person waits for at the prompt: its first line, beside `virsh list`, and a completion among many snapshots.
//!
//! `cargo bench --bench prompt`. The snapshots are `virsh snapshot-create-as --redefine`d copies of one.

mod support;

use std::time::{Duration, Instant};

use rexpect::session::{PtySession, spawn_command};
use support::{Machine, median, run, snaptree, timed, virsh};

const ROUNDS: usize = 15;
const SNAPSHOTS: usize = 1000;
const LIMIT: u64 = 60_000;

fn main() {
    let machine = Machine::new();
    let vm = machine.name.as_str();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("bench.lua");
    let line =
        format!("machine('{vm}', {{ image = require 'images.tiny' {{}}, memory = '128MiB' }}):root 'snapshot-0'");
    std::fs::write(&script, line).expect("a script");
    run(snaptree(&["-q", "run", script.to_str().expect("UTF-8")]));
    let document = run(virsh(&["snapshot-dumpxml", vm, "snapshot-0", "--security-info"]));
    let file = directory.path().join("snapshot.xml");
    for n in 1..SNAPSHOTS {
        let copy = document.replace("<name>snapshot-0</name>", &format!("<name>snapshot-{n}</name>"));
        std::fs::write(&file, copy).expect("a file");
        run(virsh(&["-q", "snapshot-create", vm, "--redefine", file.to_str().expect("UTF-8")]));
    }

    let (mut prompts, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        lists.push(timed(virsh(&["list"])));
        let started = Instant::now();
        let prompt = open();
        prompts.push(started.elapsed());
        drop(prompt);
    }
    let (prompt, list) = (median(prompts), median(lists));
    let ratio = prompt.as_secs_f64() / list.as_secs_f64();
    println!("medians of {ROUNDS}, in turns");
    println!("to the first prompt: {prompt:.1?}; virsh list: {list:.1?}; ratio {ratio:.2}");

    let mut prompt = open();
    let mut completions = Vec::new();
    for _ in 0..ROUNDS {
        completions.push(completed(&mut prompt, &format!("use '{vm}/snapshot-99")));
    }
    println!("a completion among {SNAPSHOTS} snapshots: {:.1?}", median(completions));
}

/// Opens a prompt and waits until it is there.
fn open() -> PtySession {
    let mut command = snaptree(&["-q", "repl"]);
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    let mut prompt = spawn_command(command, Some(LIMIT)).expect("a terminal");
    prompt.exp_string("snaptree> ").expect("a prompt");
    prompt
}

/// Types the beginning of a name, and waits for the list of those that begin so.
fn completed(prompt: &mut PtySession, text: &str) -> Duration {
    prompt.send(text).and_then(|_| prompt.flush()).expect("a key");
    prompt.exp_string("99").expect("the echo");
    let started = Instant::now();
    prompt.send("\t\t").and_then(|_| prompt.flush()).expect("a key");
    prompt.exp_string("snapshot-999").expect("the last of them");
    let took = started.elapsed();
    prompt.send("\u{15}").and_then(|_| prompt.flush()).expect("a key");
    prompt.exp_string("\u{1b}[K").expect("an empty line");
    took
}
