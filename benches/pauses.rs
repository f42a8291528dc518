//! How long a guest is stopped while its state is saved, compared with virsh's own snapshot with RAM of the same guest.
//!
//! `cargo bench --bench pauses` builds a Debian machine of its own and deletes it at the end. The pauses are between
//! the events of QEMU's monitor.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use support::{Machine, build_live, median, run, snaptree, timed, virsh};

const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let vm = machine.name.as_str();
    build_live(vm, "1GiB")?;
    let live = format!("{vm}/live");
    run(snaptree(&["revert", &live, "--yes"]))?;
    let directory = tempfile::tempdir_in("/var/lib/snaptree")
        .or_else(|_| tempfile::tempdir())
        .context("cannot make a temporary directory")?;
    println!("medians of {ROUNDS}, in turns");

    let watch = Watch::new()?;
    let mut taken: [Vec<Duration>; 5] = Default::default();
    for round in 0..ROUNDS {
        let name = format!("native-{round}");
        let memspec = format!("file={},snapshot=external", directory.path().join(&name).display());
        let diskspec = "vda,snapshot=external";
        taken[0].push(timed(virsh(&["snapshot-create-as", vm, &name, "--memspec", &memspec, "--diskspec", diskspec]))?);
        taken[1].push(watch.pause("RESUME", vm)?);
        run(snaptree(&["delete", &format!("{vm}/{name}"), "--yes"]))?;

        built(vm, round)?;
        taken[2].push(watch.pause("\"completed\"", ".build-")?);

        eval(&format!(r#"local f = machine.open("{vm}"):find("live"):fork(); f:snapshot("kept-{round}")"#))?;
        taken[3].push(watch.pause("RESUME", ".fork-")?);

        prompt(&format!("use(\"{live}\")\nrun \"true\"\nrun \"true\"\n.quit\n"))?;
        taken[4].push(watch.pause("RESUME", ".fork-")?);
    }
    let [save, pause, freeze, keep, checkpoint] = taken.map(median);
    let ratio = |it: Duration| it.as_secs_f64() / save.as_secs_f64();
    println!("virsh snapshot-create-as --memspec: {save:.2?}, of which the guest stands still {pause:.2?}");
    println!("a builder is frozen: {freeze:.3?}, ratio {:.3}", ratio(freeze));
    println!("a working fork takes a checkpoint and resumes: {checkpoint:.3?}, ratio {:.2}", ratio(checkpoint));
    println!("a fork becomes a branch and resumes: {keep:.3?}, ratio {:.2}", ratio(keep));
    Ok(())
}

/// Builds a live branch of the live snapshot.
fn built(vm: &str, round: usize) -> Result<()> {
    eval(&format!(r#"machine.open("{vm}"):find("live"):branch("built-{round}", function(guest) guest:run "true" end)"#))
}

fn eval(line: &str) -> Result<()> {
    run(snaptree(&["-q", "eval", line]))?;
    Ok(())
}

fn prompt(lines: &str) -> Result<()> {
    let mut child = snaptree(&["-q", "repl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start snaptree")?;
    child.stdin.take().context("there is no pipe")?.write_all(lines.as_bytes()).context("cannot type")?;
    ensure!(child.wait()?.success(), "the prompt failed");
    Ok(())
}

/// QEMU's events of every domain, as virsh prints them.
struct Watch {
    virsh: Child,
    lines: Receiver<(Instant, String)>,
}

impl Watch {
    fn new() -> Result<Self> {
        let mut command = virsh(&["qemu-monitor-event", "--loop"]);
        let mut virsh = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start virsh")?;
        let out = BufReader::new(virsh.stdout.take().context("there is no pipe")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(|line| line.ok()) {
                let _ = send.send((Instant::now(), line));
            }
        });
        // Until it has told libvirt that it listens.
        std::thread::sleep(Duration::from_secs(1));
        Ok(Self { virsh, lines })
    }

    /// Returns the time from a stop of a guest to the first event after it that says `until`; forgets the ones before.
    fn pause(&self, until: &str, domain: &str) -> Result<Duration> {
        let mut stopped = None;
        while let Ok((at, line)) = self.lines.recv_timeout(Duration::from_secs(10)) {
            let is_its = line.contains(domain);
            match stopped {
                None if is_its && line.contains("event STOP ") => stopped = Some(at),
                Some(since) if is_its && line.contains(until) => return Ok(at - since),
                _ => {}
            }
        }
        bail!("no pause of a `{domain}` until {until}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.virsh.kill();
        let _ = self.virsh.wait();
    }
}
