//! What depends on a file, and the removal of files that nothing depends on.

pub mod collect;
pub mod dependents;
pub mod discard;
pub mod opened;
