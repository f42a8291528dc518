//! The consoles that are open in this process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::hypervisor::Hypervisor;
use crate::tree::serial::serial_console::SerialConsole;

/// One console for each domain, since libvirt opens it once. It is open for as long as anything uses it.
#[derive(Default)]
pub struct Consoles(Mutex<HashMap<String, Weak<SerialConsole>>>);

impl Consoles {
    /// Returns the console of a domain, which is opened when it is first used.
    pub fn of(&self, hypervisor: &Arc<dyn Hypervisor>, domain: &str) -> Arc<SerialConsole> {
        let mut consoles = self.0.lock();
        if let Some(console) = consoles.get(domain).and_then(Weak::upgrade) {
            return console;
        }
        consoles.retain(|_, console| console.strong_count() > 0);
        let console = Arc::new(SerialConsole::new(Arc::clone(hypervisor), domain));
        consoles.insert(domain.to_string(), Arc::downgrade(&console));
        console
    }
}
