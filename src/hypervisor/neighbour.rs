//! What other connections to this host know.

use std::path::PathBuf;

/// The domains of all other connections.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    pub domains: Vec<Neighbour>,
    /// The connections that exist but could not be asked: the URI, and the reason.
    pub silent: Vec<(String, String)>,
}

/// A domain of another connection, or one of its snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The URI of the connection.
    pub connection: String,
    pub domain: String,
    /// Every file that it names.
    pub files: Vec<PathBuf>,
}
