//! Conversion to qcow2 by `qemu-img`, which gets an explicit format and opens only the one file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::error::{Because, Error, Result};
use crate::image::content::format::Format;
use crate::image::unwrap::budget::Budget;
use crate::image::unwrap::subject::Subject;
use crate::stop::Interrupt;

const SOURCE: &str = "source";
const DISK: &str = "disk.qcow2";

/// Converts an image of this format into a qcow2 file in the directory `work`, and returns its path.
pub fn convert(
    from: &Path,
    format: Format,
    work: &Path,
    subject: &Subject,
    budget: &Budget,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let failed = || format!("cannot convert image `{}`", subject.image());
    // Paths may have bytes that QEMU's own syntax does not accept.
    symlink(from, work.join(SOURCE)).because(failed)?;
    let source = json!({
        "driver": format.as_str(),
        "file": { "driver": "file", "filename": SOURCE },
        "backing": null,
    });
    let child = Command::new("qemu-img")
        .args(["convert", "-q", "-O", Format::Qcow2.as_str(), &format!("json:{source}"), DISK])
        .current_dir(work)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(File::create(work.join("said")).because(failed)?))
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::failed("`qemu-img` is not installed")
                .hint(format!("install QEMU's tools: image `{}` has to be converted", subject.image())),
            _ => Error::failed("cannot run `qemu-img`").cause(error),
        })?;
    let mut child = Leash(child);
    let disk = work.join(DISK);
    if child.wait(&disk, budget, interrupt)? {
        budget.check_size(taken(&disk))?;
        return Ok(disk);
    }
    let mut said = String::new();
    let read = File::open(work.join("said")).and_then(|file| file.take(1 << 16).read_to_string(&mut said));
    read.because(failed)?;
    if said.contains("No space left on device") {
        return Err(budget.full());
    }
    Err(Error::failed(failed())
        .cause(why(&said))
        .hint("the file is damaged, not complete, or of a kind that QEMU does not read"))
}

/// Returns the bytes that a file takes on the host's disk.
fn taken(file: &Path) -> u64 {
    const SECTOR: u64 = 512;
    file.metadata().map_or(0, |metadata| metadata.blocks() * SECTOR)
}

/// Returns the reason in the output of `qemu-img`, without the arguments that it repeats.
fn why(said: &str) -> &str {
    let line = said.lines().find(|line| !line.contains("warning: ")).unwrap_or("qemu-img says no reason");
    match line.rsplit_once("}': ") {
        Some((_, why)) => why,
        None => line.trim_start_matches("qemu-img: "),
    }
}

/// A process that is killed when dropped.
struct Leash(Child);

impl Leash {
    /// Waits for the process, and returns whether it succeeded; kills it if its file grows too large.
    fn wait(&mut self, file: &Path, budget: &Budget, interrupt: &Interrupt) -> Result<bool> {
        const TICK: Duration = Duration::from_millis(20);
        loop {
            if let Some(status) = self.0.try_wait().because(|| "cannot wait for `qemu-img`".to_string())? {
                return Ok(status.success());
            }
            interrupt.check()?;
            budget.check_space()?;
            budget.check_size(taken(file))?;
            thread::sleep(TICK);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_qemu_img_says_last() {
        let said = "qemu-img: warning: x\nqemu-img: Could not open 'json:{\"driver\": \"vdi\", \"file\": {}}': bad block size\n";
        assert_eq!(why(said), "bad block size");
        assert_eq!(
            why("qemu-img: error while reading: Input/output error\n"),
            "error while reading: Input/output error"
        );
        assert_eq!(why(""), "qemu-img says no reason");
    }
}
