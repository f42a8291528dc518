//! What becomes of a domain's XML in a clone of it: one table of rules.

pub mod arguments;
pub mod clone_xml;
pub mod devices;
pub mod rule;
