//! What the snapshot primitives refuse on any domain: the exact words, and that nothing has changed.

mod branch;
mod disks;
mod options;
mod revert;
mod take;
mod undo;
