//! What somebody sets for a whole run.

use std::time::Duration;

use crate::error::{Error, Result};

/// How RAM is to be kept whatever the host can do, for those who want to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    Mapped,
    Saved,
    No,
}

impl Forced {
    /// Reads the words of `SNAPTREE_LIVE`.
    pub fn read(word: &str) -> Result<Option<Self>> {
        match word {
            "" => Ok(None),
            "mapped" => Ok(Some(Self::Mapped)),
            "saved" => Ok(Some(Self::Saved)),
            "no" => Ok(Some(Self::No)),
            other => Err(Error::usage(format!("SNAPTREE_LIVE cannot be `{other}`"))
                .hint("it is `mapped`, `saved` or `no`; without it the host is asked")),
        }
    }
}

/// How long after the start of a step its first check-point is taken.
pub const CHECKPOINT_AFTER: Duration = Duration::from_secs(10);
