//! The process that runs a domain.

use std::fs;
use std::path::{Path, PathBuf};

const KIBIBYTE: u64 = 1024;

/// Says how much memory a domain's QEMU has to itself, in bytes; nothing if no such process is on this host.
pub fn own_memory(domain: &str) -> Option<u64> {
    let status = fs::read_to_string(find(domain)?.join("status")).ok()?;
    Some(["RssAnon:", "VmPTE:"].iter().filter_map(|name| kibibytes(&status, name)).sum::<u64>() * KIBIBYTE)
}

/// Finds a domain's QEMU by the name that libvirt starts it with; where libvirt keeps the process id depends on the
/// connection.
fn find(domain: &str) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.into_iter().find(|process| is_of(process, domain))
}

fn is_of(process: &Path, domain: &str) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    names_guest(&line, domain)
}

/// Says whether a command line, with a NUL after each argument, is that of a domain's QEMU.
fn names_guest(line: &[u8], domain: &str) -> bool {
    let mut arguments = line.split(|byte| *byte == 0);
    // A comma in a value is written twice.
    let name = format!("guest={}", domain.replace(',', ",,"));
    arguments.any(|argument| argument == b"-name")
        && arguments
            .next()
            .and_then(|argument| argument.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.starts_with(b",") && !rest.starts_with(b",,"))
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_told_by_its_whole_name() {
        let line = b"/usr/bin/qemu\0-name\0guest=a,,b.fork-1,debug-threads=on\0-S\0";
        assert!(names_guest(line, "a,b.fork-1"));
        assert!(!names_guest(line, "a,b.fork-"));
        assert!(!names_guest(line, "a"));
        assert!(!names_guest(b"grep\0guest=a,\0", "a"));
        assert!(!names_guest(b"", "a"));
    }

    #[test]
    fn sizes_are_read_off_a_status() {
        let status = "VmPTE:\t     664 kB\nRssAnon:\t   65044 kB\n";
        assert_eq!(kibibytes(status, "RssAnon:"), Some(65044));
        assert_eq!(kibibytes(status, "RssFile:"), None);
    }

    #[test]
    fn no_process_is_no_error() {
        assert_eq!(own_memory("there is no such domain"), None);
    }
}
