//! Calls that reach into a guest.

use virt::domain::Domain as VirtDomain;

use crate::agent::Agent;
use crate::error::{Error, Result};
use crate::hypervisor::{Console, Forward, Guest, Guests, Ports};
use crate::libvirt::domain::power;
use crate::libvirt::embed;
use crate::libvirt::fault;
use crate::libvirt::guest::attendant;
use crate::libvirt::guest::attendant_place::Place;
use crate::libvirt::guest::channel::Channel;
use crate::libvirt::guest::stream_console::StreamConsole;
use crate::libvirt::guest::user_network;
use crate::libvirt::host::process;
use crate::libvirt::port::libvirt::Libvirt;
use crate::stop::Interrupt;

impl Libvirt {
    /// Returns where the attendant of a domain is found; `None` if it can have none.
    pub(super) fn place_of(&self, domain: &VirtDomain) -> Result<Option<Place>> {
        let uuid = domain.uuid_string().map_err(|error| fault::failed("cannot read the uuid of a domain", &error))?;
        Ok(Place::of(&self.attendants, &uuid).filter(|_| embed::root_of(&self.uri).is_none()))
    }

    fn place(&self, name: &str) -> Result<Place> {
        let failed = |cause: &str| Error::failed(format!("cannot attend the channel of `{name}`")).cause(cause);
        let place = self.place_of(&self.must_find(name)?)?;
        place.ok_or_else(|| match embed::root_of(&self.uri) {
            Some(_) => failed("libvirt's in-process driver serves one process at a time"),
            None => failed(&format!("the path of `{}` is too long for sockets", self.attendants.display())),
        })
    }
}

impl Guests for Libvirt {
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        let channel = Channel::open(&self.uri, domain, &self.transfers, &self.attendants)
            .map_err(|error| fault::failed(format!("cannot reach the guest of `{domain}`"), &error))?;
        Ok(Box::new(Agent::new(channel, domain)))
    }

    fn console(&self, domain: &str) -> Result<Box<dyn Console>> {
        let console = StreamConsole::open(&self.uri, domain)
            .map_err(|error| fault::failed(format!("cannot open the console of `{domain}`"), &error))?;
        Ok(Box::new(console))
    }

    fn forward(&self, name: &str, forward: Forward) -> Result<Option<u16>> {
        user_network::forward(&self.must_find(name)?, name, forward)
    }

    fn ports(&self, name: &str) -> Result<Ports> {
        let domain = self.must_find(name)?;
        let mut ports = self.place_of(&domain)?.map(|place| place.ports()).unwrap_or_default();
        ports.forwards.splice(..0, user_network::forwards(&domain)?);
        Ok(ports)
    }

    fn start_attendant(&self, name: &str, ports: &Ports) -> Result<Ports> {
        attendant::start(&self.uri, name, &self.place(name)?, ports)
    }

    fn attend(
        &self,
        name: &str,
        ports: &Ports,
        interrupt: &Interrupt,
        ready: &mut dyn FnMut(&Ports) -> Result<()>,
    ) -> Result<()> {
        let place = self.place(name)?;
        let channel = Channel::unattended(&self.uri, name, &self.transfers)
            .map_err(|error| fault::failed(format!("cannot reach the guest of `{name}`"), &error))?;
        attendant::attend(channel, name, &place, ports, interrupt, ready)
    }

    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)> {
        power::screenshot(&self.connect(), &self.must_find(name)?, name)
    }

    fn own_memory(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.and_then(|_| process::own_memory(name)))
    }
}
