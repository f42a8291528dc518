//! How RAM is kept, if the environment says so.

use crate::error::{Error, Result};

/// How to keep RAM whatever the host can do, to try it out.
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
                .hint("set it to `mapped`, `saved` or `no`, or unset it to use what the host can do")),
        }
    }
}
