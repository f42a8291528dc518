//! What is known, and how it is written to a file.

pub mod answer;
pub mod bytes;
pub mod disk;
pub mod document;
pub mod file;
pub mod forwarded;
pub mod snapshot_document;
pub mod state;
pub mod store;
