//! Files that are in use although no domain or image names them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::tree::files::file_id::FileId;

/// Finds which of these files are in use although nothing names them: by a process that has one open, or by a loop
/// device. Other users' processes are checked as far as permissions allow.
pub fn opened(files: &[PathBuf]) -> HashMap<FileId, String> {
    let wanted: HashSet<FileId> = files.iter().map(|file| FileId::of(file)).collect();
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return found;
    }
    let own = std::process::id().to_string();
    let entries =
        |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for process in entries("/proc".into()) {
        let number = process.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        if number == own || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for open in entries(process.join("fd")) {
            // Sockets, pipes and the like have no path.
            let is_file = fs::read_link(&open).is_ok_and(|to| to.is_absolute() && !to.starts_with("/dev"));
            let id = is_file.then(|| FileId::of(&open)).filter(|id| wanted.contains(id));
            if let Some(id) = id {
                let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
                found.entry(id).or_insert_with(|| format!("process {number} (`{}`) has it open", command.trim()));
            }
        }
    }
    for device in entries("/sys/block".into()) {
        let file = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        let id = FileId::of(Path::new(file.trim_end_matches('\n')));
        let node = Path::new("/dev").join(device.file_name().unwrap_or_default());
        let is_loop = !file.is_empty() && fs::metadata(&node).is_ok_and(|node| node.file_type().is_block_device());
        if is_loop && wanted.contains(&id) {
            found.entry(id).or_insert_with(|| format!("`{}` is backed by it", node.display()));
        }
    }
    found
}
