//! Scripts: the one place that knows Lua.
//!
//! A script runs as one coroutine on one Lua state. Whatever waits (for a guest, for libvirt) is an asynchronous
//! function here that runs a blocking call of the engine on a thread of its own, so that several branches can be built
//! at the same time.

mod api;
mod handle;
mod manual;
mod prompt;
mod run;
mod runtime;
mod state;
mod stdlib;
#[cfg(test)]
mod tests;
mod value;
mod verb;

pub use manual::stubs;
pub use prompt::line::is_whole;
pub use prompt::run_prompt;
pub use run::{plan_script, run_script};
pub use runtime::ask::{Asker, Asks, Door, conversation};
pub use runtime::connections::Connector;
pub use runtime::control::{Orders, Planned};
pub use state::{Program, Script, Settings};
pub use value::source::UTF8_MARK;
pub use value::tokens::{Kind as TokenKind, tokens};
