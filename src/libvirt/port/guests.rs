//! Calls that reach into a guest.

use crate::agent::Agent;
use crate::error::Result;
use crate::hypervisor::{Console, Forward, Guest, Guests};
use crate::libvirt::domain::power;
use crate::libvirt::fault;
use crate::libvirt::guest::channel::Channel;
use crate::libvirt::guest::stream_console::StreamConsole;
use crate::libvirt::guest::user_network;
use crate::libvirt::host::process;
use crate::libvirt::port::libvirt::Libvirt;

impl Guests for Libvirt {
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        let channel = Channel::open(&self.uri, domain, &self.transfers)
            .map_err(|error| fault::failed(format!("cannot reach the guest of `{domain}`"), &error))?;
        Ok(Box::new(Agent::new(channel, domain)))
    }

    fn console(&self, domain: &str) -> Result<Box<dyn Console>> {
        let console = StreamConsole::open(&self.uri, domain)
            .map_err(|error| fault::failed(format!("cannot open the console of `{domain}`"), &error))?;
        Ok(Box::new(console))
    }

    fn forward(&self, name: &str, guest_port: u16) -> Result<u16> {
        user_network::forward(&self.must_find(name)?, name, guest_port)
    }

    fn forwards(&self, name: &str) -> Result<Vec<Forward>> {
        user_network::forwards(&self.must_find(name)?)
    }

    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)> {
        power::screenshot(&self.connect(), &self.must_find(name)?, name)
    }

    fn own_memory(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.and_then(|_| process::own_memory(name)))
    }
}
