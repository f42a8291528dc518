//! The saved RAM of a guest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Fingerprint, MappedMemory, Memory};

/// The saved RAM of a guest, and what it is compatible with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRam {
    pub memory: Memory,
    #[serde(default)]
    pub fits: Fingerprint,
}

impl KeptRam {
    pub const NONE: Self = Self { memory: Memory::No, fits: BTreeMap::new() };

    pub fn files(&self) -> Vec<PathBuf> {
        match &self.memory {
            Memory::No | Memory::Internal => Vec::new(),
            Memory::External(file) => vec![file.clone()],
            Memory::Mapped(MappedMemory { ram, devices }) => vec![ram.clone(), devices.clone()],
        }
    }
}

impl Default for KeptRam {
    fn default() -> Self {
        Self::NONE
    }
}
