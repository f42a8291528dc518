//! Ports that are forwarded between the host and a fork.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::hypervisor::{Forward, Ports};
use crate::stop::Stop;
use crate::tree::clone::builder::Builder;
use crate::tree::machine::engine::Engine;

/// How long the guest may take to open its end.
const LIMIT: Duration = Duration::from_secs(60);

/// What carries a forwarded port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    /// The user networking where the machine has it, otherwise the channel.
    #[default]
    Any,
    /// QEMU's user networking: it needs no process of ours. In the guest, a connection comes from another host.
    Network,
    /// The guest's channel, on any network. In the guest, a connection comes from itself.
    Channel,
}

/// Forwards a port on 127.0.0.1 to a port of a fork, while the fork is there, and returns the host's port.
pub fn forward(engine: &Engine, fork: &Builder, forward: Forward, through: Through) -> Result<u16> {
    if through != Through::Channel
        && let Some(port) = engine.hypervisor.forward(fork.domain(), forward)?
    {
        return Ok(port);
    }
    let failed = || Error::failed(format!("cannot forward a port to port {} of `{}`", forward.guest, fork.domain()));
    let no_network = "the machine has no user networking";
    if through == Through::Network {
        return Err(failed().cause(no_network).hint("give the machine `network = \"user\"`, or leave `through` out"));
    }
    match fork.guest().forward(forward, &Stop::after(LIMIT, &engine.interrupt))? {
        Ok(open) => {
            let port = open.forward.host;
            fork.hold(open);
            Ok(port)
        }
        Err(why) if through == Through::Channel => Err(failed().cause(no_channel(&why))),
        Err(why) => Err(failed()
            .cause(format!("{no_network}, and {}", no_channel(&why)))
            .hint("give the machine `network = \"user\"`")),
    }
}

/// Forwards ports of a fork that outlives this process, and returns all of them: by the user networking where the
/// machine has it, otherwise by a process that attends the fork's channel until the fork ends.
pub fn forward_for_good(engine: &Engine, fork: &Builder, wanted: &Ports) -> Result<Ports> {
    let (mut ports, mut rest) = (Ports::default(), Ports { back: wanted.back.clone(), ..Ports::default() });
    for forward in &wanted.forwards {
        match engine.hypervisor.forward(fork.domain(), *forward)? {
            Some(host) => ports.forwards.push(Forward { host, ..*forward }),
            None => rest.forwards.push(*forward),
        }
    }
    if !rest.is_empty() {
        fork.guest().hang_up();
        let attended = engine.hypervisor.start_attendant(fork.domain(), &rest)?;
        ports.forwards.extend(attended.forwards);
        ports.back = attended.back;
    }
    Ok(ports)
}

/// Forwards a port on 127.0.0.1 of a fork to a port of the host's 127.0.0.1, while the fork is there.
pub fn forward_back(engine: &Engine, fork: &Builder, forward: Forward) -> Result<()> {
    match fork.guest().forward_back(forward, &Stop::after(LIMIT, &engine.interrupt))? {
        Ok(open) => {
            fork.hold(open);
            Ok(())
        }
        Err(why) => {
            let what = format!("cannot forward port {} of `{}` to the host", forward.guest, fork.domain());
            Err(Error::failed(what).cause(no_channel(&why)))
        }
    }
}

fn no_channel(why: &str) -> String {
    format!("its guest has no channel: {why}")
}
