//! What a script runs in: the state that all of its calls share, and what lets them wait.

pub mod ask;
pub mod budget;
pub mod connections;
pub mod contents;
pub mod context;
pub mod control;
pub mod endings;
pub mod interrupt;
pub mod params;
pub mod prelude;
pub mod raised;
pub mod snapshot_origin;
