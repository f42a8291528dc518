//! Whether a QEMU that has ended is reaped soon.

use serde::Serialize;

/// How soon a QEMU that has ended is reaped. Until then libvirt believes that it still runs, and stopping a guest
/// waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reaping {
    pub is: Promptness,
    /// Which process reaps, and why it is no better.
    pub because: String,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Promptness {
    Prompt,
    Late,
    Never,
    /// It cannot be seen from here.
    Unknown,
}

impl Promptness {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Late => "late",
            Self::Never => "never",
            Self::Unknown => "unknown",
        }
    }
}
