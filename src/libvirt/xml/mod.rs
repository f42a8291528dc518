//! XML, built and read in pure functions.

pub mod disk_xml;
pub mod domain_facts;
pub mod domain_xml;
pub mod element;
pub mod live_xml;
pub mod metadata_xml;
pub mod snapshot_xml;
pub mod transfer_xml;
