//! The engine: machines and their trees, what a step did, builders, grafts, and the store of layers.
pub mod event;
pub use event::{Event, Events};
