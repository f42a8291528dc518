//! Forks that are ending while the script continues.

use parking_lot::Mutex;
use std::thread::JoinHandle;

/// The endings that must finish before the script has ended, since QEMU takes a while to stop.
#[derive(Default)]
pub struct Endings(Mutex<Vec<JoinHandle<()>>>);

impl Endings {
    pub fn end<T: Send + 'static>(&self, fork: T) {
        let ending = std::thread::spawn(move || drop(fork));
        let mut endings = self.0.lock();
        endings.retain(|ending| !ending.is_finished());
        endings.push(ending);
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        for ending in self.0.get_mut().drain(..) {
            // The next run finds a fork that could not be removed.
            let _ = ending.join();
        }
    }
}
