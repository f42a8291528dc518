//! Who depends on a file, and the removal of those that nobody depends on.

pub mod collect;
pub mod dependents;
pub mod discard;
pub mod opened;
