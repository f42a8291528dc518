//! Which process reaps the QEMU of a daemon's guests, and how soon.
//!
//! It is the new parent of the daemon's orphans: PID 1, or a nearer process that asked for them. It cannot be
//! identified from outside, but a daemon that went into the background is an orphan itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getuid};

use crate::hypervisor::{Promptness, Reaping};
use crate::libvirt::host::orphans::Process;

const DAEMONS: [&str; 2] = ["libvirtd", "virtqemud"];
/// Longer than any working reaper takes.
const LIMIT: Duration = Duration::from_secs(5);
const PROMPT: Duration = Duration::from_millis(500);
const HINT: &str = "start the daemon below a process that reaps at once: `tini -s -- libvirtd`; containers have options such \
                    as `docker run --init`";

/// What happened to an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    /// Its new parent.
    parent: i32,
    /// How long it was a zombie; `None` if it still is one.
    reaped_after: Option<Duration>,
}

/// Says how the guests that this process's own libvirt starts are reaped.
pub fn here() -> Reaping {
    Reaping { is: Promptness::Prompt, because: "snaptree reaps the guests that it starts".to_string(), hint: None }
}

/// Says how what a daemon starts is reaped: root's daemon, or this user's.
pub fn of_daemon(is_roots: bool) -> Reaping {
    let user = if is_roots { 0 } else { getuid().as_raw() };
    let daemon = daemon(user);
    if let Some((daemon, parent)) = daemon.filter(|(_, parent)| is_tini(*parent)) {
        let because = format!("{daemon} runs below process {parent} (`tini`), which reaps orphans");
        return Reaping { is: Promptness::Prompt, because, hint: None };
    }
    judge(daemon, try_out(), &|pid| name(pid).unwrap_or_else(|| "?".to_string()))
}

/// Finds a user's daemon and its parent.
fn daemon(user: u32) -> Option<(&'static str, i32)> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let found = processes.filter(|entry| entry.metadata().is_ok_and(|process| process.uid() == user));
    let mut pids = found.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find_map(|pid| {
        let name = name(pid)?;
        let daemon = DAEMONS.into_iter().find(|daemon| *daemon == name)?;
        let process = Process::read(Pid::from_raw(pid)?)?;
        // A daemon has children of its name while it starts a program.
        let is_child = self::name(process.parent).is_some_and(|parent| parent == daemon);
        (!process.is_zombie && !is_child).then_some((daemon, process.parent))
    })
}

/// Says whether a process is the reaper that `make setup` starts the daemon below.
fn is_tini(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = line.split(|byte| *byte == 0).take_while(|argument| *argument != b"--");
    name(pid).is_some_and(|name| name == "tini") && arguments.into_iter().any(|argument| argument == b"-s")
}

fn name(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_string())
}

/// Makes an orphan that ends, and watches it.
fn try_out() -> Option<Fate> {
    const STEP: Duration = Duration::from_millis(5);
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 0.2 </dev/null >/dev/null 2>&1 & echo $!"]).stdin(Stdio::null()).stderr(Stdio::null());
    let said = shell.output().ok()?;
    let pid = Pid::from_raw(String::from_utf8_lossy(&said.stdout).trim().parse().ok()?)?;
    let parent = Process::read(pid)?.parent;
    let (started, mut ended) = (Instant::now(), None);
    loop {
        match Process::read(pid).filter(|process| process.parent == parent) {
            None => {
                return Some(Fate {
                    parent,
                    reaped_after: Some(ended.map_or(Duration::ZERO, |at: Instant| at.elapsed())),
                });
            }
            Some(process) if process.is_zombie => _ = ended.get_or_insert_with(Instant::now),
            Some(_) => {}
        }
        if started.elapsed() > LIMIT {
            return Some(Fate { parent, reaped_after: None });
        }
        std::thread::sleep(STEP);
    }
}

fn judge(daemon: Option<(&str, i32)>, fate: Option<Fate>, name: &dyn Fn(i32) -> String) -> Reaping {
    let process = |pid: i32| format!("process {pid} (`{}`)", name(pid));
    let unknown = |because: String| Reaping { is: Promptness::Unknown, because, hint: None };
    let Some(fate) = fate else { return unknown("no orphan could be made to try it".to_string()) };
    let did = match fate.reaped_after {
        None => format!("did not reap an orphan in {} s", LIMIT.as_secs()),
        Some(took) => format!("took {} ms to reap an orphan", took.as_millis()),
    };
    let tried = process(fate.parent);
    match daemon {
        None => unknown(format!("no libvirt daemon is to be seen from here; {tried} {did}")),
        Some((daemon, parent)) if parent != fate.parent => {
            unknown(format!("{daemon} runs below {}, which cannot be tried from here; {tried} {did}", process(parent)))
        }
        Some((daemon, _)) => {
            let (is, so) = match fate.reaped_after {
                None => (Promptness::Never, ": a guest that was stopped does not go away"),
                Some(took) if took > PROMPT => (Promptness::Late, ": stopping a guest waits for that"),
                Some(_) => (Promptness::Prompt, ""),
            };
            let hint = (is != Promptness::Prompt).then(|| HINT.to_string());
            Reaping { is, because: format!("{daemon} runs below {tried}, which {did}{so}"), hint }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn judged(daemon: Option<(&str, i32)>, parent: i32, millis: Option<u64>) -> (Promptness, String, bool) {
        let fate = Fate { parent, reaped_after: millis.map(Duration::from_millis) };
        let name = |pid: i32| if pid == 1 { "init".to_string() } else { "tini".to_string() };
        let Reaping { is, because, hint } = judge(daemon, Some(fate), &name);
        (is, because, hint.is_some())
    }

    #[test]
    fn what_counts_is_the_process_that_the_daemon_runs_below() {
        let judged = |daemon, parent, millis| {
            let (is, because, has_hint) = judged(daemon, parent, millis);
            assert_eq!(has_hint, matches!(is, Promptness::Late | Promptness::Never));
            format!("{}: {because}", is.as_str())
        };
        let libvirtd = |parent| Some(("libvirtd", parent));
        assert_eq!(
            judged(libvirtd(1), 1, Some(12)),
            "prompt: libvirtd runs below process 1 (`init`), which took 12 ms to reap an orphan"
        );
        assert_eq!(
            judged(libvirtd(1), 1, Some(1400)),
            "late: libvirtd runs below process 1 (`init`), which took 1400 ms to reap an orphan: stopping a guest waits for \
             that"
        );
        assert_eq!(
            judged(libvirtd(1), 1, None),
            "never: libvirtd runs below process 1 (`init`), which did not reap an orphan in 5 s: a guest that was stopped \
             does not go away"
        );
        assert_eq!(
            judged(libvirtd(7), 1, Some(1400)),
            "unknown: libvirtd runs below process 7 (`tini`), which cannot be tried from here; process 1 (`init`) took \
             1400 ms to reap an orphan"
        );
        assert_eq!(
            judged(None, 1, Some(12)),
            "unknown: no libvirt daemon is to be seen from here; process 1 (`init`) took 12 ms to reap an orphan"
        );
        assert_eq!(judge(libvirtd(1), None, &|_| String::new()).is, Promptness::Unknown);
    }

    #[test]
    fn an_orphan_gets_another_parent() {
        let fate = try_out().unwrap();
        assert!(fate.parent > 0 && fate.parent != i32::try_from(std::process::id()).unwrap());
    }
}
