//! What is sent to a guest through libvirt: its agent's messages, and the bytes of another port.

use parking_lot::Mutex;
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};

use crate::agent::{Port, Transport, TransportError};
use crate::libvirt::fault;
use crate::libvirt::guest::line::{Line, Moved};
use crate::libvirt::guest::monitor;
use crate::libvirt::xml::domain_facts;
use crate::libvirt::xml::element::Element;

/// The agent's channel of one domain, on a connection of its own: a connection carries five calls at a time, and these
/// may take long.
pub struct Channel {
    uri: String,
    name: String,
    open: Mutex<Open>,
}

struct Open {
    domain: Domain,
    // After the domain, which has to be dropped first.
    connect: Connect,
}

impl Channel {
    pub fn open(uri: &str, domain: &str) -> Result<Self, VirtError> {
        let open = Mutex::new(Open::new(uri, domain)?);
        Ok(Self { uri: uri.to_string(), name: domain.to_string(), open })
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

    fn port(&self, name: &str) -> Result<Option<Box<dyn Port>>, TransportError> {
        let failed = |error: VirtError| explain(&error);
        let domain = self.domain().map_err(failed)?;
        let document = Element::parse(&domain.xml_desc(0).map_err(failed)?).map_err(TransportError::Other)?;
        let Some(device) = domain_facts::port_device(&document, name) else { return Ok(None) };
        let is_waited_at = monitor::is_waited_at(&domain, &device);
        if !is_waited_at.map_err(|error| TransportError::Other(error.message))? {
            return Ok(None);
        }
        let line = Line::open(&self.uri, &self.name, |domain, stream| domain.open_channel(Some(name), stream, 0));
        Ok(Some(Box::new(line.map_err(failed)?)))
    }
}

impl Port for Line {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        match Line::send(self, bytes).map_err(|error| explain(&error))? {
            Moved::Bytes(length) => Ok(length),
            Moved::NothingYet => Ok(0),
            Moved::Ended => Err(TransportError::Gone("the line to the guest has ended".to_string())),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TransportError> {
        Ok(match Line::receive(self, buffer).map_err(|error| explain(&error))? {
            Moved::Bytes(length) => Some(length),
            Moved::NothingYet => None,
            Moved::Ended => Some(0),
        })
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
