//! Disk images.
use std::path::PathBuf;
pub struct Ready {
    pub disk: PathBuf,
    pub boot: Option<crate::hypervisor::Boot>,
}
