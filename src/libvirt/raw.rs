//! What neither `virt` nor the standard library offers without `unsafe`.
#![allow(unsafe_code)]

use std::path::Path;

/// Sends libvirt's own log to a file instead of our standard error, if it comes before the first call of libvirt.
pub fn log_to(file: &Path) {
    const VARIABLE: &str = "LIBVIRT_LOG_OUTPUTS";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let mut value = std::ffi::OsString::from("3:file:");
    value.push(file);
    // SAFETY: connecting is among the first things a run does, before it starts threads that read the environment by
    // other means than the standard library, which locks it.
    unsafe { std::env::set_var(VARIABLE, value) };
}
