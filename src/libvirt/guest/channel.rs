//! What is sent to a guest: its agent's messages, through libvirt, and the bytes of another port.

use parking_lot::Mutex;
use std::path::Path;
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};

use crate::agent::{AttachedDisk, Ported, Scratch, Transport, TransportError};
use crate::channel::PORT;
use crate::error::Error;
use crate::libvirt::fault;
use crate::libvirt::guest::attendant_place::Place;
use crate::libvirt::guest::attended_line::AttendedLine;
use crate::libvirt::guest::monitor;
use crate::libvirt::guest::socket_line::SocketLine;
use crate::libvirt::guest::stream_line::StreamLine;
use crate::libvirt::guest::transfer::Transfers;
use crate::libvirt::xml::domain_facts;
use crate::libvirt::xml::element::Element;

/// Chooses the way into guests: `agent` leaves everything to the guest agent, `stream` takes libvirt's stream instead of
/// QEMU's socket.
pub const VARIABLE: &str = "SNAPTREE_CHANNEL";
/// How often, and how long after the last time, a port that is taken is looked at again.
const LOOKS: usize = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The agent's channel of one domain, on a connection of its own: a connection carries five calls at a time, and these
/// may take long.
pub struct Channel {
    uri: String,
    name: String,
    transfers: Transfers,
    /// Where an attendant may be.
    place: Option<Place>,
    open: Mutex<Open>,
}

struct Open {
    domain: Domain,
    // After the domain, which has to be dropped first.
    connect: Connect,
}

impl Channel {
    /// Opens it. The channel is an attendant's, if there is one in the directory `attendants`.
    pub fn open(uri: &str, domain: &str, transfers: &Transfers, attendants: &Path) -> Result<Self, VirtError> {
        let mut channel = Self::unattended(uri, domain, transfers)?;
        let uuid = channel.open.get_mut().domain.uuid_string()?;
        channel.place = Place::of(attendants, &uuid);
        Ok(channel)
    }

    /// Opens it for the attendant itself.
    pub fn unattended(uri: &str, domain: &str, transfers: &Transfers) -> Result<Self, VirtError> {
        let open = Mutex::new(Open::new(uri, domain)?);
        Ok(Self { uri: uri.to_string(), name: domain.to_string(), transfers: transfers.clone(), place: None, open })
    }

    /// Says whether the domain is known to be gone, or not to run.
    pub fn is_gone(&self) -> bool {
        match self.domain().and_then(|domain| domain.is_active()) {
            Ok(is_active) => !is_active,
            Err(error) => fault::is_missing_domain(&error),
        }
    }

    /// Returns the domain, on a new connection if the previous one was lost.
    fn domain(&self) -> Result<Domain, VirtError> {
        let mut open = self.open.lock();
        if !open.connect.is_alive().unwrap_or(false) {
            *open = Open::new(&self.uri, &self.name)?;
        }
        Ok(open.domain.clone())
    }
}

impl Open {
    fn new(uri: &str, domain: &str) -> Result<Self, VirtError> {
        let connect = Connect::open(Some(uri))?;
        let domain = connect.lookup_domain_by_name(domain)?;
        Ok(Self { domain, connect })
    }
}

impl Transport for Channel {
    fn command(&self, json: &str, timeout: Duration) -> Result<String, TransportError> {
        let seconds = i32::try_from(timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let domain = self.domain().map_err(|error| explain(&error))?;
        domain.qemu_agent_command(json, seconds, 0).map_err(|error| explain(&error))
    }

    fn port(&self) -> Result<Ported, TransportError> {
        let other = |error: Error| TransportError::Other(error.to_string());
        let way = std::env::var(VARIABLE).unwrap_or_default();
        if way == "agent" {
            return Ok(Ported::None(format!("{VARIABLE}=agent asks for that")));
        }
        let domain = self.domain().map_err(|error| explain(&error))?;
        let attended = self.place.as_ref().filter(|_| way.is_empty()).and_then(|place| place.connect().ok());
        if let Some(line) = attended.and_then(|socket| AttendedLine::new(socket, Some(domain.clone())).ok()) {
            return Ok(Ported::Open(Box::new(line)));
        }
        let document = domain.xml_desc(0).map_err(|error| explain(&error))?;
        let document = Element::parse(&document).map_err(TransportError::Other)?;
        let Some(port) = domain_facts::port(&document, PORT) else {
            return Ok(Ported::None(format!("the domain has no port `{PORT}`")));
        };
        let look = || monitor::port_ends(&domain, &port.device).map_err(other);
        let mut ends = look()?;
        // QEMU may not have noticed yet that an earlier connection is closed.
        for _ in 0..LOOKS {
            if !ends.has_host {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
            ends = look()?;
        }
        if ends.has_host {
            return Ok(Ported::None(format!("another process has the port `{PORT}` open")));
        }
        if !ends.has_guest {
            return Ok(Ported::Unattended);
        }
        let socket = if way == "stream" { None } else { SocketLine::open(domain.clone(), &port).ok() };
        Ok(Ported::Open(match socket {
            Some(line) => Box::new(line),
            // Only QEMU's user may, and libvirt for others.
            None => {
                let line = StreamLine::open(&self.uri, &self.name, PORT, &port.device, domain);
                Box::new(line.map_err(|error| explain(&error))?)
            }
        }))
    }

    fn scratch(&self) -> Result<Scratch, String> {
        // Another host has other files.
        let is_local = self.uri.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'));
        match is_local {
            true => self.transfers.scratch().map_err(|error| error.to_string()),
            false => Err("the domain is on another host".to_string()),
        }
    }

    fn attach(&self, scratch: &Scratch, is_read_only: bool) -> Result<Box<dyn AttachedDisk>, String> {
        let domain = self.domain().map_err(|error| error.message().to_string())?;
        self.transfers.attach(domain, scratch, is_read_only)
    }
}

fn explain(error: &VirtError) -> TransportError {
    let text = error.message().to_string();
    match fault::code(error) {
        ErrorNumber::AgentUnresponsive | ErrorNumber::AgentUnsynced | ErrorNumber::AgentCommandTimeout => {
            TransportError::NotConnected(text)
        }
        ErrorNumber::NoDomain | ErrorNumber::OperationInvalid => TransportError::Gone(text),
        // A guest that shuts down closes the channel while the answer is awaited.
        _ if text.contains("End of file from agent") => TransportError::NotConnected(text),
        _ => match agent_error(&text) {
            Some(desc) => TransportError::Agent { class: "GenericError".to_string(), desc: desc.to_string() },
            None => TransportError::Other(text),
        },
    }
}

/// Returns the agent's own words in libvirt's message: `unable to execute QEMU agent command 'NAME': WORDS`.
fn agent_error(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("unable to execute QEMU agent command '")?;
    rest.split_once("': ").map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_words_are_found() {
        let text = "guest agent command failed: unable to execute QEMU agent command 'guest-file-open': failed to \
                    open file '/nope' (mode: 'r'): No such file or directory";
        let words = "failed to open file '/nope' (mode: 'r'): No such file or directory";
        assert_eq!(agent_error(text), Some(words));
        assert_eq!(agent_error("Domain not found"), None);
    }
}
