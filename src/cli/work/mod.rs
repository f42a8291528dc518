//! Commands that run scripts, and commands in guests.

pub mod attend;
pub mod cp;
pub mod eval;
pub mod exec;
pub mod fork;
pub mod plan;
mod port_pair;
pub mod remove_fork;
pub mod repl;
pub mod run;
pub mod script;
pub mod shell;
pub mod stop;
