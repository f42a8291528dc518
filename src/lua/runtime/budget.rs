//! What builders may take of the host: so many at the same time, and no more memory than there is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// What QEMU takes besides the guest's memory, in bytes.
const OVERHEAD: u64 = 160 << 20;
/// The part of the host's free memory that is left to others: one of so many.
const RESERVE: u64 = 10;
const MIB: u64 = 1 << 20;

#[derive(Clone)]
pub struct Budget {
    jobs: Arc<Semaphore>,
    /// A permit for each MiB; nothing where memory is no concern.
    memory: Option<Arc<Semaphore>>,
    total: u32,
}

/// The right to run one builder.
pub struct Share {
    _job: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Lets `jobs` builders run at the same time, within `memory` bytes where that is given.
    pub fn new(jobs: usize, memory: Option<u64>) -> Self {
        let total = memory.map_or(0, |memory| permits(memory).min(Semaphore::MAX_PERMITS as u32));
        Self {
            jobs: Arc::new(Semaphore::new(jobs)),
            memory: memory.map(|_| Arc::new(Semaphore::new(total as usize))),
            total,
        }
    }

    /// Waits until a builder of a guest with so many bytes may run; `waiting` is called once when memory is short.
    pub async fn share(&self, guest: u64, waiting: impl FnOnce()) -> Result<Share> {
        let closed = |cause| Error::bug("the budget is closed").cause(cause);
        let job = Arc::clone(&self.jobs).acquire_owned().await.map_err(closed)?;
        let Some(memory) = &self.memory else { return Ok(Share { _job: job, _memory: None }) };
        // A guest that is larger than all there is gets all there is: alone it may still fit.
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

/// Returns how many bytes builders may take on this host, as far as Linux tells.
pub fn memory_of_host() -> Option<u64> {
    let free = available(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(free - free / RESERVE)
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
            drop(budget.share(1 << 40, || panic!("nobody else is there")).await.unwrap());
            let unlimited = Budget::new(2, None);
            let _first = unlimited.share(1 << 40, || panic!("memory is no concern")).await.unwrap();
            let _second = unlimited.share(1 << 40, || panic!("memory is no concern")).await.unwrap();
        });
    }
}
