//! Ports that are forwarded through the channel of a guest.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::agent::agent::Agent;
use crate::agent::transport::Transport;
use crate::channel::{Forwarding, Session, Sessions};
use crate::error::{Because, Error, Result};
use crate::hypervisor::{Forward, Guest, OpenForward};
use crate::stop::{Interrupt, Stop};

/// How long a guest that has restarted is waited for when a connection comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Forwards a port of the host's to one of the guest's; says why not, if there is no channel.
pub fn into_guest<T: Transport>(
    agent: &Arc<Agent<T>>,
    forward: Forward,
    stop: &Stop,
) -> Result<Result<OpenForward, String>> {
    if let Some(why) = agent.obstacle(stop)? {
        return Ok(Err(why));
    }
    let Forward { host, guest } = forward;
    let opened = Forwarding::into_guest(host, guest, sessions(agent));
    let opened = opened.because(|| format!("cannot forward 127.0.0.1:{host} to port {guest} of the guest"))?;
    let forward = Forward { host: opened.port(), guest };
    Ok(Ok(OpenForward { forward, held: Box::new(opened) }))
}

/// Forwards a port of the guest's to one of the host's; says why not, if there is no channel.
pub fn out_of_guest<T: Transport>(
    agent: &Arc<Agent<T>>,
    forward: Forward,
    stop: &Stop,
) -> Result<Result<OpenForward, String>> {
    if let Some(why) = agent.obstacle(stop)? {
        return Ok(Err(why));
    }
    let Forward { host, guest } = forward;
    let opened = Forwarding::out_of_guest(host, guest, sessions(agent)).map_err(|cause| {
        Error::failed(format!("cannot forward 127.0.0.1:{guest} of the guest to port {host} of the host")).cause(cause)
    })?;
    Ok(Ok(OpenForward { forward, held: Box::new(opened) }))
}

/// Returns what yields the session of the moment. It does not keep the agent, whose end is that of its ports too.
fn sessions<T: Transport>(agent: &Arc<Agent<T>>) -> Sessions {
    let agent = Arc::downgrade(agent);
    Arc::new(move || session(&agent))
}

fn session<T: Transport>(agent: &Weak<Agent<T>>) -> Option<Arc<Session>> {
    agent.upgrade()?.session(&Stop::after(PATIENCE, &Interrupt::default())).ok().flatten()
}
