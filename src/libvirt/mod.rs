//! Empty as yet.
pub struct Connected {
    pub hypervisor: std::sync::Arc<dyn crate::hypervisor::Hypervisor>,
    pub note: Option<String>,
}
pub fn connect(_: Option<&str>, _: &crate::paths::Paths) -> crate::error::Result<Connected> {
    Err(crate::error::Error::unavailable("none"))
}
