//! How a clone's XML differs from its original's: one table of rules.

pub mod arguments;
pub mod clone_xml;
pub mod devices;
pub mod rule;
