//! Large files and directories that go into a guest and come out of it: a tiny one, in a fork.
//!
//! `cargo bench --bench files` builds a machine of its own and deletes it at the end. Files are compared with what `dd` in
//! the guest reads from and writes to a raw disk that virsh attaches, a directory of small files with `tar` as a command.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use support::{Machine, median, run, snaptree, virsh};

const ROUNDS: usize = 7;
const MIB: u32 = 100;
const FILES: usize = 10_000;
const PARTS: [&str; 6] = ["push", "pull", "from", "to", "directory", "tar"];

const BUILD: &str = r#"
    local tiny = require "images.tiny"
    machine("MACHINE", { image = tiny {}, memory = "768MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
"#;
/// Prints a word before each part of a round.
const MEASURE: &str = r#"
    local guest = machine.open("FORK"):guest()
    local archive = assert(io.open("HERE/archive.tar", "rb")):read "a"
    local function dd(arguments) guest:run("dd bs=1M " .. arguments .. " 2>/dev/null") end
    for n = 1, ROUNDS do
      print "push"
      guest:push("HERE/file", "/dev/shm/file")
      print "pull"
      guest:pull("/dev/shm/file", "HERE/back")
      print "from"
      dd "if=/dev/DEVICE of=/dev/shm/file iflag=direct"
      print "to"
      dd "if=/dev/shm/file of=/dev/DEVICE oflag=direct conv=fsync"
      print "rest"
      guest:run "rm -rf /dev/shm/file /dev/shm/tree /dev/shm/tar; mkdir /dev/shm/tar"
      print "directory"
      guest:push("HERE/tree", "/dev/shm/tree")
      print "tar"
      guest:run("cd /dev/shm/tar && exec tar -xf -", { stdin = archive })
      print "rest"
    end
"#;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let here = directory.path();
    fs::set_permissions(here, PermissionsExt::from_mode(0o777))?;
    fill(here)?;
    let script = here.join("script.lua");
    let script_name = script.to_str().context("the temporary directory has an odd name")?;
    fs::write(&script, BUILD.replace("MACHINE", &machine.name))?;
    run(snaptree(&["run", script_name]))?;
    let fork = run(snaptree(&["-q", "fork", &format!("{}/one", machine.name)]))?.trim().to_string();
    let measured = || -> Result<[Duration; 6]> {
        let disk = here.join("disk.raw");
        let disk = disk.to_str().context("the temporary directory has an odd name")?;
        run(virsh(&["attach-disk", &fork, disk, "vdb", "--subdriver", "raw", "--targetbus", "virtio"]))?;
        let find = "until [ -e /dev/vdb ]; do sleep 0.1; done; echo vdb";
        let device = run(snaptree(&["-q", "exec", &fork, "--", "sh", "-c", find]))?;
        let place = here.to_str().context("the temporary directory has an odd name")?;
        let lines = MEASURE.replace("FORK", &fork).replace("HERE", place).replace("DEVICE", device.trim());
        fs::write(&script, lines.replace("ROUNDS", &ROUNDS.to_string()))?;
        measure(snaptree(&["-q", "run", script_name]))
    }();
    run(snaptree(&["-q", "stop", &fork]))?;
    let [push, pull, from, to, tree, tar] = measured?;
    let speed = |time: Duration| f64::from(MIB) / time.as_secs_f64();
    let ratio = |one: Duration, other: Duration| other.as_secs_f64() / one.as_secs_f64();
    println!("medians of {ROUNDS}, in turns");
    println!("guest:push of {MIB} MiB: {:.1} MiB/s", speed(push));
    println!("  dd in the guest, from an attached raw disk: {:.1} MiB/s, ratio {:.2}", speed(from), ratio(push, from));
    println!("guest:pull of {MIB} MiB: {:.1} MiB/s", speed(pull));
    println!("  dd in the guest, to an attached raw disk: {:.1} MiB/s, ratio {:.2}", speed(to), ratio(pull, to));
    println!("guest:push of {FILES} files of 1 KiB: {tree:.2?}");
    println!("  tar as a command, with the archive as its input: {tar:.2?}, ratio {:.2}", ratio(tree, tar));
    Ok(())
}

/// Makes a large file, a disk with as much, and many small files with their archive.
fn fill(here: &Path) -> Result<()> {
    let bytes: Vec<u8> = (0..MIB << 20).map(|n| (n ^ (n >> 9)) as u8).collect();
    fs::write(here.join("file"), &bytes)?;
    fs::write(here.join("disk.raw"), &bytes)?;
    for n in 0..FILES {
        let directory = here.join(format!("tree/{}", n / 100));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("{n}")), [n as u8; 1024])?;
    }
    let (archive, tree) = (here.join("archive.tar"), here.join("tree"));
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(tree).arg("-cf").arg(archive).arg(".");
    run(tar).map(drop)
}

/// Runs a script that prints a word before each part of a round; returns the median of each part.
fn measure(mut command: Command) -> Result<[Duration; 6]> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start snaptree")?;
    let output = BufReader::new(child.stdout.take().context("there is no output")?);
    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut begun: Option<(usize, Instant)> = None;
    for word in output.lines() {
        let now = Instant::now();
        if let Some((part, since)) = begun.take() {
            times[part].push(now - since);
        }
        let word = word?;
        begun = PARTS.iter().position(|part| *part == word).map(|part| (part, now));
    }
    ensure!(child.wait()?.success(), "the script failed");
    ensure!(times.iter().all(|times| times.len() == ROUNDS), "the script ended early");
    Ok(times.map(median))
}
