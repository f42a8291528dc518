//! snaptree builds trees of virtual-machine snapshots from Lua.
//!
//! Data goes one way:
//!
//! ```text
//! cli | repl -> lua -> tree -> hypervisor (traits, plain data) <- libvirt | fake
//!                 |                                           |
//!               events -> ui (the only printer)             agent (the QEMU guest agent's protocol)
//! ```
//!
//! - [`cli`]: arguments and exit codes, one file per command
//! - `repl`: the one place that knows the line editor; lines in, results out
//! - `lua`: the one place that knows Lua; scripts, their API, their errors
//! - [`tree`]: the engine: machines, nodes, journals, builders, grafts, the store
//! - [`image`]: disk images, where they come from and where they are cached
//! - [`hypervisor`]: what the engine needs from a hypervisor and from a guest
//! - `libvirt`: the one place that knows libvirt
//! - `agent`: the QEMU guest agent's protocol over any transport
//! - [`fake`]: a hypervisor in memory, for recipes' own tests and ours
//! - [`event`]: what the engine reports about its work
//! - [`ui`]: everything that the user sees
//! - `signals`: which signals stay ignored
//! - `trace`: what took how long, in a file

mod agent;
mod channel;
pub mod cli;
mod clock;
mod count;
pub mod error;
pub mod event;
pub mod fake;
pub mod hypervisor;
pub mod image;
mod libvirt;
mod lua;
pub mod name;
mod nearest;
pub mod paths;
mod repl;
mod shell;
mod signals;
pub mod stop;
mod trace;
pub mod tree;
pub mod ui;
