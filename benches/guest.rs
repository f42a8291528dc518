//! Commands and files in a guest, compared with what the guest itself takes for them: a tiny one, in a fork.
//!
//! `cargo bench --bench guest` builds a machine of its own and deletes it at the end. The guest's own part is one command
//! that does the same many times; its disk is a raw one that is attached for that.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use support::{Machine, median, run, snaptree, virsh};

const ROUNDS: usize = 7;
/// How many commands a round runs.
const COMMANDS: u32 = 50;
const MIB: u32 = 32;

const BUILD: &str = r#"
    local tiny = require "images.tiny"
    machine("MACHINE", { image = tiny {}, memory = "512MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
"#;
/// Prints a word before each part of a round.
const MEASURE: &str = r#"
    local guest <close> = machine.open("MACHINE"):find("one"):fork()
    local bytes = string.rep("0123456789abcdef", MIB << 16)
    local function clock() return tonumber(guest:read("/proc/uptime"):match "%S+") end
    for n = 1, ROUNDS do
      guest:run("(sleep 1; cut -d ' ' -f 1 /proc/uptime >/run/opened; exec httpd -f -p " .. 8080 + n .. ") >/dev/null 2>&1 &")
      guest:wait_for_port(8080 + n)
      print("port " .. clock() - tonumber(guest:read "/run/opened"))
      guest:run("(sleep 1; cut -d ' ' -f 1 /proc/uptime >/run/new" .. n .. "; mv /run/new" .. n .. " /run/file" .. n .. ") &")
      guest:wait_for_file("/run/file" .. n)
      print("file " .. clock() - tonumber(guest:read("/run/file" .. n)))
      print "shell"
      guest:run "n=0; while [ $n -lt COMMANDS ]; do /bin/sh -c /bin/true; n=$((n+1)); done"
      print "run"
      for _ = 1, COMMANDS do guest:run "true" end
      print "write"
      guest:write("/dev/shm/file", bytes)
      print "read"
      assert(#guest:read "/dev/shm/file" == #bytes)
      print "rest"
    end
"#;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let fill = |script: &str| {
        let numbers = [("COMMANDS", COMMANDS.to_string()), ("MIB", MIB.to_string()), ("ROUNDS", ROUNDS.to_string())];
        let script = script.replace("MACHINE", &machine.name);
        numbers.iter().fold(script, |script, (name, number)| script.replace(name, number))
    };
    let file = directory.path().join("script.lua");
    let file_name = file.to_str().context("the temporary directory has an odd name")?;
    std::fs::write(&file, fill(BUILD))?;
    run(snaptree(&["run", file_name]))?;
    std::fs::write(&file, fill(MEASURE))?;
    let ([shell, command, write, read], [port, file]) = measured(snaptree(&["-q", "run", file_name]))?;
    println!("medians of {ROUNDS}, in turns");
    let each = |time: Duration| time / COMMANDS;
    println!("guest:run \"true\": {:.2?}", each(command));
    println!("  /bin/sh -c /bin/true in the guest's own loop: {:.2?}, ratio {:.2}", each(shell), ratio(command, shell));
    let speed = |time: Duration| f64::from(MIB) / time.as_secs_f64();
    println!("wait_for_port, from the start of the server until the host knows: {:.0} ms", port * 1e3);
    println!("wait_for_file, from the moment before the file is there: {:.0} ms", file * 1e3);
    let (from, to) = disk(&machine.name, directory.path())?;
    println!("guest:write of {MIB} MiB: {:.1} MiB/s", speed(write));
    println!("  dd in the guest, from an attached raw disk: {from:.1} MiB/s, ratio {:.2}", speed(write) / from);
    println!("guest:read of {MIB} MiB: {:.1} MiB/s", speed(read));
    println!("  dd in the guest, to an attached raw disk: {to:.1} MiB/s, ratio {:.2}", speed(read) / to);
    Ok(())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// Runs a script that prints a word before each part of a round, and how many seconds waits took by the guest's own
/// clock; returns the median of each part and each wait.
fn measured(mut command: Command) -> Result<([Duration; 4], [f64; 2])> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start snaptree")?;
    let output = BufReader::new(child.stdout.take().context("there is no output")?);
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut waits: [Vec<f64>; 2] = Default::default();
    let mut begun = None;
    for word in output.lines() {
        if let Some((part, since)) = begun.take() {
            let part: &mut Vec<Duration> = &mut times[part];
            part.push(Instant::elapsed(&since));
        }
        let word = word?;
        for (name, waits) in ["port ", "file "].iter().zip(&mut waits) {
            if let Some(seconds) = word.strip_prefix(name) {
                waits.push(seconds.parse()?);
            }
        }
        let part = ["shell", "run", "write", "read"].iter().position(|it| *it == word);
        begun = part.map(|part| (part, Instant::now()));
    }
    ensure!(child.wait()?.success(), "the script failed");
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Ok((times.map(median), waits.map(middle)))
}

/// Measures what `dd` in the guest reads from and writes to a raw disk that virsh attaches, in MiB/s.
fn disk(machine: &str, directory: &std::path::Path) -> Result<(f64, f64)> {
    let fork = run(snaptree(&["-q", "fork", &format!("{machine}/one")]))?.trim().to_string();
    let place = directory.join("disk.raw");
    std::fs::File::create(&place)?.write_all(&vec![7; (MIB as usize) << 20])?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory, readable)?;
    let path = place.to_str().context("the temporary directory has an odd name")?;
    run(virsh(&["attach-disk", &fork, path, "vdz", "--subdriver", "raw", "--targetbus", "virtio"]))?;
    let measured = || -> Result<(f64, f64)> {
        let ask = |line: &str| run(snaptree(&["-q", "exec", &fork, "--", "sh", "-c", line]));
        let find = "for n in $(seq 50); do d=$(ls /sys/block | grep '^vd' | tail -n 1); [ $d != vda ] && break; sleep 0.1; done; echo $d";
        let device = ask(find)?.trim().to_string();
        let mut times: [Vec<f64>; 2] = Default::default();
        for _ in 0..ROUNDS {
            let copies = [
                format!("dd if=/dev/{device} of=/dev/shm/file bs=1M iflag=direct"),
                format!("dd if=/dev/shm/file of=/dev/{device} bs=1M oflag=direct conv=fsync"),
            ];
            for (times, copy) in times.iter_mut().zip(&copies) {
                let line = format!(
                    "a=$(cut -d ' ' -f 1 /proc/uptime); {copy} 2>/dev/null; b=$(cut -d ' ' -f 1 /proc/uptime); echo $a $b"
                );
                let said = ask(&line)?;
                let (a, b) = said.trim().split_once(' ').context("dd says nothing")?;
                times.push(b.parse::<f64>()? - a.parse::<f64>()?);
            }
        }
        let speed = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            f64::from(MIB) / times[times.len() / 2].max(0.01)
        };
        let [from, to] = times.map(speed);
        Ok((from, to))
    }();
    run(snaptree(&["-q", "stop", &fork]))?;
    measured
}
