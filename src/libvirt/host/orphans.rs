//! Orphans: processes whose parent has gone, such as QEMU, which libvirt starts as a daemon.
//!
//! Until an orphan's new parent has reaped it, it is a zombie, which libvirt takes for a process that still runs. That
//! parent is PID 1, which may reap late or never; so if libvirt runs in this process, this process is the parent.

use std::fs;
use std::sync::OnceLock;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

/// Adopts processes that are orphaned below this one from now on, and reaps them.
pub fn adopt() {
    static ADOPTS: OnceLock<()> = OnceLock::new();
    // If this fails, guests are stopped as slowly as without it.
    ADOPTS.get_or_init(|| {
        let Ok(mut signals) = Signals::new([SIGCHLD]) else { return };
        if set_child_subreaper(Some(getpid())).is_ok() {
            std::thread::spawn(move || signals.forever().for_each(|_| reap()));
        }
    });
}

fn reap() {
    let Some(here) = Process::read(getpid()) else { return };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw) {
        if Process::read(pid).is_some_and(|process| process.is_adopted_zombie(here)) {
            // If another part of the process asked first, that has reaped it as well.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// A process, as `/proc/PID/stat` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// 0 if the session's leader is in no PID namespace of ours, as below `docker exec`.
    session: i32,
    pub is_zombie: bool,
}

impl Process {
    pub fn read(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name may contain anything, and ends at the last parenthesis.
        let ((pid, _), (_, rest)) = (stat.split_once(' ')?, stat.rsplit_once(')')?);
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let (parent, _group, session) = (fields.next()?, fields.next()?, fields.next()?);
        let number = |text: &str| text.parse().ok();
        Some(Self {
            pid: number(pid)?,
            parent: number(parent)?,
            session: number(session)?,
            is_zombie: matches!(state, "Z" | "X"),
        })
    }

    /// Says whether it has ended as a child that this process did not start, so that no other code here waits for it. A
    /// child that was started here is in this process's session, or leads one of its own.
    fn is_adopted_zombie(self, here: Self) -> bool {
        self.is_zombie && self.parent == here.pid && self.session != here.session && self.session != self.pid
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_zombie_that_is_not_waited_for_here_is_reaped() {
        let process = |stat: &str| Process::parse(&format!("{stat} 0 -1 0")).unwrap();
        let here = process("10 (snaptree) S 1 10 5");
        let is_reaped = |stat: &str| process(stat).is_adopted_zombie(here);
        assert!(is_reaped("30 (qemu) x) Z 10 29 29"));
        // It still runs; it is another process's; it was started here, in this session or as the leader of another.
        for other in ["30 (qemu) S 10 29 29", "30 (qemu) Z 1 29 29", "30 (sh) Z 10 30 5", "30 (sh) Z 10 30 30"] {
            assert!(!is_reaped(other), "{other}");
        }
        // The leader of its session is in another PID namespace.
        let here = process("10 (snaptree) S 0 0 0");
        assert!(process("30 (qemu) Z 10 29 29").is_adopted_zombie(here));
        assert!(!process("30 (sh) Z 10 30 0").is_adopted_zombie(here));
        assert_eq!(Process::parse("30 (qemu"), None);
        assert_eq!(Process::parse("30 (qemu) S 1"), None);
    }

    #[test]
    #[ignore = "makes this process the one that reaps"]
    fn orphans_are_reaped_and_the_ends_of_own_children_are_left_to_who_started_them() {
        adopt();
        let run = |line: &str| std::process::Command::new("sh").args(["-c", line]).output().unwrap();
        let orphan = run("setsid sh -c 'sleep 0.3 </dev/null >/dev/null 2>&1 & echo $!'");
        let orphan = Pid::from_raw(String::from_utf8_lossy(&orphan.stdout).trim().parse().unwrap()).unwrap();
        assert_eq!(Process::read(orphan).unwrap().parent, getpid().as_raw_nonzero().get());
        while Process::read(orphan).is_some() {
            assert_eq!(run("exit 7").status.code(), Some(7));
            assert_eq!(run("exec setsid sh -c 'exit 8'").status.code(), Some(8));
        }
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let process = Process::read(getpid()).unwrap();
        assert_eq!(process.pid, getpid().as_raw_nonzero().get());
        assert!(!process.is_zombie);
    }
}
