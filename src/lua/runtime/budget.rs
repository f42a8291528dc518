//! What builders may use of the host: a limited number at the same time, and no more memory than there is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// QEMU's own memory, besides the guest's, in bytes.
const OVERHEAD: u64 = 160 << 20;
/// One part in this many of the host's free memory is left to others.
const RESERVE: u64 = 10;
const MIB: u64 = 1 << 20;
/// The first version of control groups writes a number beyond this one where there is no limit.
const UNLIMITED: u64 = 1 << 60;

#[derive(Clone)]
pub struct Budget {
    jobs: Arc<Semaphore>,
    /// A permit for each MiB; `None` if memory is not limited.
    memory: Option<Arc<Semaphore>>,
    total: u32,
}

/// The right to run one builder.
pub struct Share {
    _job: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Lets `jobs` builders run at the same time, within `memory` bytes if given.
    pub fn new(jobs: usize, memory: Option<u64>) -> Self {
        let total = memory.map_or(0, |memory| permits(memory).min(Semaphore::MAX_PERMITS as u32));
        Self {
            jobs: Arc::new(Semaphore::new(jobs)),
            memory: memory.map(|_| Arc::new(Semaphore::new(total as usize))),
            total,
        }
    }

    /// Waits until a builder whose guest has `guest` bytes may run; calls `waiting` once if memory is short.
    pub async fn share(&self, guest: u64, waiting: impl FnOnce()) -> Result<Share> {
        let closed = |cause| Error::bug("the budget is closed").cause(cause);
        let job = Arc::clone(&self.jobs).acquire_owned().await.map_err(closed)?;
        let Some(memory) = &self.memory else { return Ok(Share { _job: job, _memory: None }) };
        // A guest larger than the whole budget gets all of it: alone it may still fit.
        let wanted = permits(guest.saturating_add(OVERHEAD)).min(self.total);
        let acquire = Arc::clone(memory).acquire_many_owned(wanted);
        tokio::pin!(acquire);
        const SHORT: Duration = Duration::from_millis(100);
        let memory = match tokio::time::timeout(SHORT, &mut acquire).await {
            Ok(memory) => memory.map_err(closed)?,
            Err(_) => {
                waiting();
                acquire.await.map_err(closed)?
            }
        };
        Ok(Share { _job: job, _memory: Some(memory) })
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes / MIB).unwrap_or(u32::MAX)
}

/// Returns how many bytes builders may use on this host, if Linux reports it.
pub fn memory_of_host() -> Option<u64> {
    let free = available(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let free = left_in_groups().map_or(free, |left| left.min(free));
    Some(free - free / RESERVE)
}

/// Returns the bytes left within the limits of this process's control groups, of both versions.
fn left_in_groups() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups_of_memory(&groups).filter_map(|(version, group)| version.left(group)).min()
}

/// The files of one version of control groups, below its mount point.
struct Version {
    root: &'static str,
    limit: &'static str,
    taken: &'static str,
    /// The part of it that caches files, which the kernel frees when it is needed.
    cached: &'static str,
}

const V1: Version = Version {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    taken: "memory.usage_in_bytes",
    cached: "total_inactive_file ",
};
const V2: Version =
    Version { root: "/sys/fs/cgroup", limit: "memory.max", taken: "memory.current", cached: "inactive_file " };

/// Lists the groups in which the memory of a process is limited, from its `/proc/PID/cgroup`.
fn groups_of_memory(groups: &str) -> impl Iterator<Item = (Version, &Path)> {
    groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let version = match controllers {
            "" => V2,
            some if some.split(',').any(|controller| controller == "memory") => V1,
            _ => return None,
        };
        Some((version, Path::new(group)))
    })
}

impl Version {
    /// Returns the bytes left in a group and those above it, as far as they are visible: a container sees its own as
    /// the root.
    fn left(&self, group: &Path) -> Option<u64> {
        let left = |group: &Path| {
            let directory = Path::new(self.root).join(group.strip_prefix("/").ok()?);
            let read = |file: &str| std::fs::read_to_string(directory.join(file)).ok();
            let number = |text: &str| text.trim().parse::<u64>().ok();
            // To sum a group up takes the kernel some milliseconds, so one without a limit is not asked.
            let limit = number(&read(self.limit)?).filter(|limit| *limit < UNLIMITED)?;
            let taken = number(&read(self.taken)?)?;
            let cached = read("memory.stat")?.lines().find_map(|line| number(line.strip_prefix(self.cached)?));
            Some(limit.saturating_sub(taken.saturating_sub(cached.unwrap_or(0))))
        };
        group.ancestors().filter_map(left).min()
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn the_kernel_says_how_much_is_free() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(meminfo), Some(2 << 20));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn the_groups_of_both_versions_are_told() {
        let of = |groups: &str| {
            groups_of_memory(groups).map(|(version, group)| (version.limit, group.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(of("0::/a/b\n"), [("memory.max", "/a/b".into())]);
        let both = "5:devices:/\n4:cpu,memory:/c\n0::/\n";
        assert_eq!(of(both), [("memory.limit_in_bytes", "/c".into()), ("memory.max", "/".into())]);
        assert_eq!(of("x\n1:name=systemd:/\n"), []);
        assert_eq!(V2.left(Path::new("/no/such/group/anywhere")).is_some(), V2.left(Path::new("/")).is_some());
    }

    #[test]
    fn a_builder_waits_for_memory_and_says_so() {
        runtime().block_on(async {
            let budget = Budget::new(4, Some(1000 << 20));
            let first = budget.share(600 << 20, || panic!("there is room")).await.unwrap();
            let has_waited = std::cell::Cell::new(false);
            let second = budget.share(300 << 20, || has_waited.set(true));
            tokio::pin!(second);
            assert!(tokio::time::timeout(Duration::from_millis(300), &mut second).await.is_err());
            drop(first);
            second.await.unwrap();
            assert!(has_waited.get());
        });
    }

    #[test]
    fn a_guest_larger_than_the_host_runs_alone() {
        runtime().block_on(async {
            let budget = Budget::new(2, Some(100 << 20));
            drop(budget.share(1 << 40, || panic!("no other builder is there")).await.unwrap());
            let unlimited = Budget::new(2, None);
            let _first = unlimited.share(1 << 40, || panic!("memory is no concern")).await.unwrap();
            let _second = unlimited.share(1 << 40, || panic!("memory is no concern")).await.unwrap();
        });
    }
}
