//! Builds images: a temporary directory, and host commands that run in it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::error::{Because, Error, Result};
use crate::event::{Event, Events};
use crate::image::cache::{self, ImageCache, Record};
use crate::image::content::format::Format;
use crate::image::content::kind::{self, Kind};
use crate::image::image::{Image, Ready, Source};
use crate::image::progress::Progress;
use crate::stop::Interrupt;

const SETUP: &str = "run `make setup`, which installs what building images needs";

/// A directory for building one image, removed when dropped. While it exists, no other process builds that image.
pub struct Workshop {
    cache: ImageCache,
    image: Image,
    directory: TempDir,
    progress: Progress,
    interrupt: Interrupt,
    _lock: File,
}

/// The result of claiming a built image.
pub enum Claim {
    /// It exists.
    Ready(Ready),
    /// It is the caller's turn to build it.
    Build(Workshop),
}

impl ImageCache {
    /// Returns the built image, or a workshop to build it in. Waits while another process builds it.
    pub fn claim(&self, image: &Image, events: &Events, interrupt: &Interrupt) -> Result<Claim> {
        let Source::Built { name, .. } = &image.source else {
            return Err(Error::bug(format!("image `{}` is not one to be built", image.label)));
        };
        if let Some(ready) = self.lookup(&image.digest) {
            return Ok(Claim::Ready(ready));
        }
        let lock = self.lock(&image.digest, name, events, interrupt)?;
        match self.lookup(&image.digest) {
            Some(ready) => Ok(Claim::Ready(ready)),
            None => Ok(Claim::Build(Workshop::new(self, image, lock, events, interrupt)?)),
        }
    }
}

impl Workshop {
    pub(in crate::image) fn new(
        cache: &ImageCache,
        image: &Image,
        lock: File,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let directory = cache.workplace(&image.digest)?;
        let progress = Progress::start(events, &image.label, "building");
        let (cache, image, interrupt) = (cache.clone(), image.clone(), interrupt.clone());
        Ok(Self { cache, image, directory, progress, interrupt, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file below the workshop, and creates its parent directories.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let relative = Path::new(name);
        if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::usage(format!("`{name}` is not a path inside the workshop"))
                .hint("use a relative path without `..`"));
        }
        let path = self.path().join(relative);
        let failed = || format!("cannot write `{}`", path.display());
        // Trees are copied into images with their permissions, which must not depend on the user's umask.
        let mut parent = self.path().to_path_buf();
        for part in relative.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if !parent.is_dir() {
                fs::create_dir(&parent).because(failed)?;
                fs::set_permissions(&parent, Permissions::from_mode(0o755)).because(failed)?;
            }
        }
        fs::write(&path, bytes).because(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).because(failed)
    }

    /// Runs a host command in the workshop and returns its standard output; every line of both streams is an event.
    ///
    /// On an interrupt the command is stopped, with every process that it started.
    pub fn run(&self, argv: &[String], stdin: Option<&[u8]>, env: &BTreeMap<String, String>) -> Result<String> {
        let [program, arguments @ ..] = argv else {
            return Err(Error::usage("there is no command to run"));
        };
        self.interrupt.check()?;
        // A normal user's PATH often lacks the directories of mke2fs and depmod.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
        let is_there = || std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
        if !program.contains('/') && !is_there() {
            return Err(Error::failed(format!("`{program}` is not installed")).hint(SETUP));
        }
        // The files that it makes become part of an image, which must not depend on the user's umask.
        let mut child = Command::new("sh")
            .args(["-c", r#"umask 022; exec "$@""#, "sh", program])
            .args(arguments)
            .current_dir(self.path())
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", &path)
            .env("TMPDIR", tempfile::env::temp_dir())
            .envs(env)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .because(|| format!("cannot run `{program}`"))?;
        let log = Arc::new(Mutex::new(String::new()));
        let (events, image) = (&self.progress.events, self.image.label.as_str());
        let (pipes, input) = ((child.stdout.take(), child.stderr.take()), child.stdin.take());
        let (status, stdout) = thread::scope(|scope| {
            let (out, err) = pipes;
            let out = out.map(|pipe| scope.spawn(|| follow(pipe, &log, events, image)));
            let err = err.map(|pipe| scope.spawn(|| follow(pipe, &log, events, image)));
            if let (Some(mut input), Some(bytes)) = (input, stdin) {
                // A command need not read all of its input; its exit status decides.
                scope.spawn(move || input.write_all(bytes));
            }
            let status = wait(&mut child, &self.interrupt);
            let stdout = out.and_then(|thread| thread.join().ok()).unwrap_or_default();
            drop(err.map(|thread| thread.join()));
            (status, stdout)
        });
        let status = status?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let log = log.lock().clone();
        let error = Error::failed(format!("`{}` {}", abbreviated(argv), how(status))).tail_of(&log);
        const NOT_FOUND: i32 = 127;
        Err(if status.code() == Some(NOT_FOUND) { error.hint(format!("a program is missing: {SETUP}")) } else { error })
    }

    /// Moves `disk.qcow2`, and `vmlinuz` and `initrd` if they exist, into the cache.
    pub fn finish(self) -> Result<Ready> {
        let Source::Built { name, inputs, cmdline } = &self.image.source else {
            return Err(Error::bug("a workshop for an image that is not built"));
        };
        let disk = cache::ready(self.path(), None).ok_or_else(|| {
            Error::failed(format!("the build of image `{name}` made no `disk.qcow2`"))
                .hint("the build function must leave the disk under that name in `work.dir`")
        })?;
        let told = File::open(disk.disk).and_then(|file| kind::tell(&file));
        if told.because(|| format!("cannot read what the build of image `{name}` made"))? != Kind::Disk(Format::Qcow2) {
            return Err(Error::failed(format!(
                "the build of image `{name}` left a `disk.qcow2` that is not a qcow2 image"
            ))
            .hint("convert it in the build function: qemu-img convert -O qcow2 disk.raw disk.qcow2"));
        }
        // Other files in the workshop are left behind, so that the directory is complete as soon as it has its name.
        let product = self.path().join("product");
        let failed = || format!("cannot put image `{name}` into the cache");
        fs::create_dir(&product).because(failed)?;
        let mut sizes = BTreeMap::new();
        for file in ["disk.qcow2", "vmlinuz", "initrd"] {
            let (from, to) = (self.path().join(file), product.join(file));
            if from.exists() {
                fs::rename(&from, &to).because(failed)?;
                fs::set_permissions(&to, Permissions::from_mode(0o644)).because(failed)?;
                let written = File::open(&to).because(failed)?;
                written.sync_all().because(failed)?;
                sizes.insert(file.to_string(), written.metadata().because(failed)?.len());
            }
        }
        let record = Record {
            name: name.clone(),
            digest: self.image.digest.clone(),
            inputs: inputs.clone(),
            created: cache::seconds_now(),
            sizes,
            cmdline: cmdline.clone(),
            converted: None,
        };
        let text = serde_json::to_vec_pretty(&record).because(failed)?;
        fs::write(product.join("image.json"), text).because(failed)?;
        fs::set_permissions(&product, Permissions::from_mode(0o755)).because(failed)?;
        let directory: PathBuf = self.cache.directory(name, &self.image.digest);
        if directory.exists() {
            // The existing one was incomplete, or the claim would have found it.
            fs::remove_dir_all(&directory).because(failed)?;
        }
        fs::rename(&product, &directory).because(failed)?;
        let ready = cache::ready(&directory, cmdline.clone()).ok_or_else(|| Error::bug(failed()))?;
        self.progress.finish();
        Ok(ready)
    }
}

/// Reads a stream to its end; every line is an event and goes into `log`.
fn follow(pipe: impl Read, log: &Mutex<String>, events: &Events, image: &str) -> Vec<u8> {
    let (mut pipe, mut all) = (BufReader::new(pipe), Vec::new());
    loop {
        let start = all.len();
        if !matches!(pipe.read_until(b'\n', &mut all), Ok(1..)) {
            return all;
        }
        let text = String::from_utf8_lossy(&all[start..]);
        // If a line was overwritten with carriage returns, only what would remain on the screen counts.
        let line = text.trim_end().rsplit('\r').next().unwrap_or_default().to_string();
        {
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
        events.emit(Event::ImageOutput { image: image.to_string(), line });
    }
}

/// Waits for the child, and stops its process group on an interrupt.
fn wait(child: &mut Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    const TICK: Duration = Duration::from_millis(20);
    // mmdebstrap unmounts and tidies up when it is asked to terminate.
    const GRACE: Duration = Duration::from_secs(5);
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let signal = |signal| group.is_some_and(|group| kill_process_group(group, signal).is_ok());
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().because(|| "cannot wait for a command".to_string())? {
            // A process left in the background would keep the pipes open and the directory in use.
            signal(Signal::KILL);
            return if asked.is_some() { Err(Error::interrupted()) } else { Ok(status) };
        }
        match asked {
            None if interrupt.is_raised() => {
                signal(Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => {
                signal(Signal::KILL);
            }
            _ => (),
        }
        thread::sleep(TICK);
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_string(),
    }
}

/// Writes a command short enough for an error message.
fn abbreviated(argv: &[String]) -> String {
    const MAX_CHARS: usize = 60;
    let line = argv.join(" ");
    let first = line.lines().next().unwrap_or_default();
    let kept: String = first.chars().take(MAX_CHARS).collect();
    if kept.len() < line.len() { format!("{} ...", kept.trim_end()) } else { kept }
}

#[cfg(test)]
mod tests;
