//! Downloads over HTTP: resumed where they stopped, and verified before use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::error::{Because, Error, Result};
use crate::event::Events;
use crate::image::cache::{self, ImageCache, Record};
use crate::image::file;
use crate::image::progress::Progress;
use crate::stop::Interrupt;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Returns a short name for the image at `url`: the last part of its path, or its host.
pub fn label(url: &str) -> Result<String> {
    let lower = url.to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        let error = Error::usage(format!("cannot download `{url}`")).cause("only http and https are supported");
        return Err(match url.strip_prefix("file://") {
            Some(path) => error.hint(format!("a file of this host is `image.file(\"{path}\")`")),
            None => error.hint("write the address with its scheme, such as https://host/disk.qcow2"),
        });
    }
    let place = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    Ok(place.rsplit('/').next().unwrap_or(place).to_string())
}

/// Returns the verified file behind `url`, downloading any part that is missing.
pub fn fetch(
    cache: &ImageCache,
    label: &str,
    url: &str,
    sha256: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let disk = cache.downloads().join(sha256);
    if disk.exists() {
        return Ok(disk);
    }
    let _lock = cache.lock(sha256, label, events, interrupt)?;
    if disk.exists() {
        return Ok(disk);
    }
    let failed = || format!("cannot keep the download of `{url}`");
    let record = Record {
        name: label.to_string(),
        digest: format!("sha256:{sha256}"),
        inputs: serde_json::json!({ "url": url }),
        created: cache::seconds_now(),
        sizes: Default::default(),
        cmdline: None,
        converted: None,
    };
    let record = serde_json::to_vec_pretty(&record).because(failed)?;
    let noted = disk.with_extension("json");
    let note = || fs::write(&noted, &record).because(failed);
    let part = disk.with_extension("part");
    let mut progress = Progress::start(events, label, "downloading");
    // The part may be complete already, if the process ended between the last byte and the check.
    if !is_complete(&part, sha256, interrupt)? {
        let downloaded = download(url, &part, &mut progress, interrupt, &note);
        if downloaded.is_err() && part.metadata().is_ok_and(|part| part.len() == 0) {
            remove(&part).and_then(|()| remove(&noted)).because(failed)?;
        }
        downloaded?;
        let actual = file::hash(&part, interrupt)?;
        if actual != sha256 {
            remove(&part).and_then(|()| remove(&noted)).because(failed)?;
            return Err(Error::failed(format!("the download of `{url}` has the wrong checksum"))
                .cause(format!("expected sha256 {sha256}, found {actual}"))
                .hint("the publisher's own list of checksums tells which of the two is right"));
        }
    }
    note()?;
    File::open(&part).and_then(|file| file.sync_all()).because(failed)?;
    fs::rename(&part, &disk).because(failed)?;
    progress.finish();
    Ok(disk)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn is_complete(part: &Path, sha256: &str, interrupt: &Interrupt) -> Result<bool> {
    Ok(part.exists() && file::hash(part, interrupt)? == sha256)
}

/// What the connection's thread reports.
enum Message {
    /// The response has begun; whether it continues the part, and how long the whole file is.
    Begun {
        continues: bool,
        total: Option<u64>,
    },
    Bytes(Vec<u8>),
    End,
    Failed(Error),
}

/// Appends the rest of `url` to the part. `note` is called before the first bytes to resume from are written.
fn download(
    url: &str,
    part: &Path,
    progress: &mut Progress,
    interrupt: &Interrupt,
    note: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let failed = || format!("cannot write `{}`", part.display());
    let mut file = OpenOptions::new().create(true).append(true).open(part).because(failed)?;
    let mut done = file.metadata().because(failed)?.len();
    let (mut total, mut is_noted) = (None, false);
    let messages = connect(url, done);
    loop {
        match receive(&messages, interrupt)? {
            Message::Begun { continues, total: length } => {
                if !continues && done > 0 {
                    file.set_len(0).because(failed)?;
                    done = 0;
                }
                total = length;
            }
            Message::Bytes(bytes) => {
                if !is_noted {
                    note()?;
                    is_noted = true;
                }
                file.write_all(&bytes).because(failed)?;
                done += bytes.len() as u64;
                progress.bytes(done, total);
            }
            Message::End if total.is_some_and(|total| done < total) => {
                return Err(broken(url, &format!("it ended after {done} bytes")));
            }
            Message::End => return Ok(()),
            Message::Failed(error) => return Err(error),
        }
    }
}

/// Waits for the next message, or the interrupt: a blocked read cannot be interrupted, a wait for its thread can.
fn receive(messages: &Receiver<Message>, interrupt: &Interrupt) -> Result<Message> {
    const TICK: Duration = Duration::from_millis(50);
    loop {
        interrupt.check()?;
        match messages.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::bug("a download's thread ended without a word")),
        }
    }
}

/// Requests `url` from byte `start` on, in a thread of its own that ends when the receiver is gone.
fn connect(url: &str, start: u64) -> Receiver<Message> {
    const AHEAD: usize = 16;
    const CHUNK: usize = 1 << 16;
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    let url = url.to_string();
    thread::spawn(move || {
        let mut response = match request(&url, start) {
            Ok(response) => response,
            Err(error) => return drop(sender.send(Message::Failed(error))),
        };
        let (continues, total) = extent(&response, start);
        let mut is_heard = sender.send(Message::Begun { continues, total }).is_ok();
        let mut reader = response.body_mut().as_reader();
        while is_heard {
            let mut chunk = vec![0; CHUNK];
            let message = match reader.read(&mut chunk) {
                Ok(0) => Message::End,
                Ok(size) => {
                    chunk.truncate(size);
                    Message::Bytes(chunk)
                }
                Err(error) => Message::Failed(broken(&url, &error)),
            };
            let is_resumed = matches!(message, Message::Bytes(_));
            is_heard = sender.send(message).is_ok() && is_resumed;
        }
    });
    receiver
}

fn request(url: &str, start: u64) -> Result<Response<Body>> {
    const CONNECT: Duration = Duration::from_secs(20);
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("snaptree/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into();
    let get = |start: u64| {
        let request = agent.get(url);
        let request = if start > 0 { request.header("range", format!("bytes={start}-")) } else { request };
        request.call().map_err(|error| {
            let hint = match error {
                ureq::Error::TooManyRedirects => {
                    "the server leads in a circle, or to an address that is neither http nor https: see `curl -vL`"
                }
                _ => "is the address right, and is the network there? a proxy is taken from HTTPS_PROXY or ALL_PROXY",
            };
            Error::failed(format!("cannot download `{url}`")).cause(error).hint(hint)
        })
    };
    let mut response = get(start)?;
    // The server's file is shorter than the part, so the part is not from it.
    if start > 0 && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        response = get(0)?;
    }
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let error = Error::failed(format!("cannot download `{url}`")).cause(format!("the server answered {status}"));
    Err(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => error.hint("the address is wrong, or the file has been moved"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            error.hint("the server requires a login; download it by hand")
        }
        _ if status.is_server_error() => error.hint("try again later"),
        _ => error.hint("ask the server for the file with `curl -L`, and use that with `image.file`"),
    })
}

/// Returns whether the response continues a part of `start` bytes, and the length of the whole file.
fn extent(response: &Response<Body>, start: u64) -> (bool, Option<u64>) {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if response.status() == StatusCode::PARTIAL_CONTENT {
        // `bytes 100-199/200`
        let range = header("content-range").and_then(|range| range.strip_prefix("bytes "));
        let first = range.and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        let total = range.and_then(|range| range.rsplit('/').next()?.parse().ok());
        return (first.is_none_or(|first| first == start), total);
    }
    (false, header("content-length").and_then(|length| length.parse().ok()))
}

fn broken(url: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("the download of `{url}` broke off"))
        .cause(cause)
        .hint("run it again: it continues where it stopped")
}

#[cfg(test)]
mod tests;
