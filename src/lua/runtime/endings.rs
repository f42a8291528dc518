//! Forks that are ending while the script goes on.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// What is waited for before the script has ended, since QEMU takes its time to stop.
#[derive(Default)]
pub struct Endings(Mutex<Vec<JoinHandle<()>>>);

impl Endings {
    pub fn end<T: Send + 'static>(&self, fork: T) {
        let ending = std::thread::spawn(move || drop(fork));
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        endings.retain(|ending| !ending.is_finished());
        endings.push(ending);
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        for ending in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A fork that cannot be removed is found by the next run.
            let _ = ending.join();
        }
    }
}
