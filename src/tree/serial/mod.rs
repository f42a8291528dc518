//! The serial console of something that runs, watched and typed into by a script.

pub mod consoles;
mod plain_text;
pub mod serial_console;
