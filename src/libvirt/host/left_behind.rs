//! Files of a transient domain that libvirt and QEMU leave behind when it ends.

use std::path::{Path, PathBuf};

use crate::libvirt::clone::devices;

/// Lists the log directories of the in-process driver.
pub fn logs_in(logs: &Path) -> Vec<PathBuf> {
    ["qemu", "swtpm"].map(|program| logs.join(program)).to_vec()
}

pub fn logs_of_system() -> Vec<PathBuf> {
    ["/var/log/libvirt/qemu", "/var/log/swtpm/libvirt/qemu"].map(PathBuf::from).to_vec()
}

/// Removes the logs of a domain's programs from a directory of logs. Another host's or another user's log cannot be
/// removed, and need not be.
pub fn remove_logs(directory: &Path, name: &str) {
    remove_files(directory, |file| is_log_of(name, file));
}

/// Removes the memory that a transient domain could share, which QEMU creates and does not remove.
pub fn remove_shared_memory(name: &str) {
    let prefix = devices::shared_memory_prefix(name);
    remove_files(Path::new("/dev/shm"), |file| file.starts_with(&prefix));
}

/// Says by its name whether a log belongs to a domain: to its QEMU, or to a program for one of its devices, which
/// libvirt names as in `NAME-swtpm.log` and `NAME-fs0-virtiofsd.log`.
fn is_log_of(domain: &str, file: &str) -> bool {
    let rest = file.strip_prefix(domain).and_then(|rest| rest.strip_suffix(".log"));
    let programs = ["-swtpm", "-virtiofsd", "-vhost-user-gpu"];
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with('-') && programs.iter().any(|program| rest.ends_with(program))
    })
}

fn remove_files(directory: &Path, is_meant: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_meant) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_by_the_name_of_their_domain() {
        for log in [
            "m.build-1.log",
            "m.build-1-swtpm.log",
            "m.build-1-fs0-virtiofsd.log",
            "m.build-1-video0-vhost-user-gpu.log",
        ] {
            assert!(is_log_of("m.build-1", log), "{log}");
        }
        for log in ["m.build-12.log", "m.build-1-2.log", "m.build-1", "m.log", "xm.build-1.log"] {
            assert!(!is_log_of("m.build-1", log), "{log}");
        }
    }
}
