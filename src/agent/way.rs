//! The way into a guest: the channel, or its agent alone.

use std::sync::Arc;

use crate::agent::transport::{Ported, Transport};
use crate::channel::{Refused, Session};
use crate::error::{Kind, Result};
use crate::hypervisor::Exit;
use crate::trace;

/// What is known about the way into a guest.
#[derive(Default)]
pub enum Way {
    #[default]
    Unknown,
    Channel(Arc<Session>),
    /// The agent does everything; this is why.
    Agent(String),
}

impl Way {
    /// Returns the channel, if it is open.
    pub fn session(&self) -> Option<Arc<Session>> {
        match self {
            Way::Channel(session) if session.over().is_none() => Some(Arc::clone(session)),
            _ => None,
        }
    }
}

/// Looks for a way that is open already.
fn look<T: Transport>(transport: &T) -> Found {
    let _span = trace::span("open the channel");
    match transport.port() {
        Ok(Ported::Open(port)) => match Session::open(port) {
            Ok(session) => Found::Channel(session),
            Err(Refused::Other) => Found::Other,
            Err(Refused::Silent(why)) => Found::Nothing(why),
        },
        Ok(Ported::Unattended) => Found::Unattended,
        Ok(Ported::None(why)) => Found::Nothing(why),
        Err(error) => Found::Nothing(error.to_string()),
    }
}

enum Found {
    Channel(Session),
    Unattended,
    /// A program of another snaptree waits there.
    Other,
    Nothing(String),
}

/// Finds a way without putting anything into the guest; `None` if there is none yet.
pub fn find<T: Transport>(transport: &T) -> Option<Arc<Session>> {
    match look(transport) {
        Found::Channel(session) => Some(Arc::new(session)),
        _ => None,
    }
}

/// Opens a way. `install` puts the program into the guest, in the place of another one if that is asked for, and returns
/// its status and what it says about a failure.
pub fn open<T: Transport>(transport: &T, install: impl FnOnce(bool) -> Result<(Exit, String)>) -> Result<Way> {
    let replaces = match look(transport) {
        Found::Channel(session) => return Ok(Way::Channel(Arc::new(session))),
        Found::Nothing(why) => return Ok(Way::Agent(why)),
        Found::Unattended => false,
        Found::Other => true,
    };
    let span = trace::span("put the program into the guest");
    let installed = install(replaces);
    drop(span);
    Ok(match installed {
        Ok((Exit(0), _)) => match look(transport) {
            Found::Channel(session) => Way::Channel(Arc::new(session)),
            Found::Nothing(why) => Way::Agent(why),
            Found::Unattended | Found::Other => Way::Agent("no program waits at its port".to_string()),
        },
        Ok((_, why)) => Way::Agent(why.lines().last().unwrap_or("our program does not run there").trim().to_string()),
        // As where the agent is told to start no programs; it may still serve files.
        Err(error) if error.kind == Kind::Failed => {
            Way::Agent(error.to_string().lines().next().unwrap_or_default().to_string())
        }
        Err(error) => return Err(error),
    })
}
