//! Which connection to open, and opening it.

use std::env;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use virt::connect::Connect;
use virt::error::Error as VirtError;

use crate::error::{Error, Result};
use crate::hypervisor::Hypervisor;
use crate::libvirt::host::orphans;
use crate::libvirt::port::libvirt::Libvirt;
use crate::libvirt::{embed, fault};
use crate::paths::{Paths, is_root};

/// An open connection.
pub struct Connected {
    pub hypervisor: Arc<dyn Hypervisor>,
    /// What the user should know about the choice, in one line.
    pub note: Option<String>,
}

/// Connects to `uri`, where `embed` means libvirt's in-process driver. Without one it connects to what libvirt's own
/// settings name, else to the daemon that a libvirt user would get, else to the in-process driver.
pub fn connect(uri: Option<&str>, paths: &Paths) -> Result<Connected> {
    let connected = |hypervisor, note| Connected { hypervisor, note };
    if let Some(uri) = uri.map(str::to_string).or_else(|| configured_uri(&paths.libvirt_settings)) {
        let uri = if uri == "embed" { embed::uri(&paths.embed) } else { uri };
        return open(&uri, paths).map(|hypervisor| connected(hypervisor, None));
    }
    let daemon = daemon();
    // libvirt decides where to log at its first call, which may turn out to be that of a driver that logs much.
    let prepared = if daemon.answers { Ok(()) } else { embed::prepare(&paths.embed) };
    if daemon.answers || daemon.may_start {
        match open(daemon.uri, paths) {
            Ok(hypervisor) => return Ok(connected(hypervisor, None)),
            Err(error) if daemon.answers => return Err(error),
            Err(_) => {}
        }
    }
    prepared?;
    let uri = embed::uri(&paths.embed);
    let note = format!("no libvirt daemon answers: using libvirt's in-process driver, `{uri}`");
    open(&uri, paths).map(|hypervisor| connected(hypervisor, Some(note)))
}

fn open(uri: &str, paths: &Paths) -> Result<Arc<dyn Hypervisor>> {
    if let Some(host) = remote_host(uri) {
        return Err(Error::unavailable(format!("cannot use `{uri}`"))
            .cause(format!("`{host}` is another host, and the layers of snapshots live on this one's disks"))
            .hint(format!("run snaptree on `{host}`")));
    }
    if let Some(root) = embed::root_of(uri) {
        embed::prepare(&root)?;
        orphans::adopt();
    }
    start_event_loop().and_then(|()| Connect::open(Some(uri))).map_err(|error| explain(uri, &error)).map(|connect| {
        let libvirt = Libvirt::new(connect, uri, paths);
        Arc::new(libvirt) as Arc<dyn Hypervisor>
    })
}

fn explain(uri: &str, error: &VirtError) -> Error {
    let text = error.message();
    if text.contains("driver.pid") {
        return Error::unavailable(format!("`{uri}` is in use by another process"))
            .cause("libvirt's in-process driver serves one process at a time")
            .hint("wait until that one ends, choose another root with SNAPTREE_EMBED_ROOT, or use a libvirt daemon");
    }
    let mut error = fault::failed(format!("cannot connect to `{uri}`"), error);
    error.kind = crate::error::Kind::Unavailable;
    if error.hint.is_none() {
        error = error.hint("`virsh -c URI uri` tries a connection; `--connect embed` needs no daemon");
    }
    error
}

/// Runs libvirt's event loop on its own thread, which the drivers expect to find when a connection is opened.
fn start_event_loop() -> Result<(), VirtError> {
    static STARTED: OnceLock<Result<(), VirtError>> = OnceLock::new();
    let start = || {
        // Without this, libvirt prints every error itself.
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl()?;
        std::thread::spawn(|| {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        Ok(())
    };
    STARTED.get_or_init(start).clone()
}

/// The URI that libvirt's own settings name.
fn configured_uri(settings: &Path) -> Option<String> {
    let from_env = env::var("LIBVIRT_DEFAULT_URI").ok().filter(|uri| !uri.is_empty());
    from_env.or_else(|| uri_default(&fs::read_to_string(settings.join("libvirt.conf")).ok()?))
}

fn uri_default(settings: &str) -> Option<String> {
    settings.lines().find_map(|line| {
        let value = line.trim().strip_prefix("uri_default")?.trim_start().strip_prefix('=')?.trim();
        let quote = value.chars().next().filter(|quote| "\"'".contains(*quote))?;
        value[1..].split(quote).next().map(str::to_string)
    })
}

/// The daemon that a libvirt user would get.
struct Daemon {
    uri: &'static str,
    answers: bool,
    /// The first connection would start it.
    may_start: bool,
}

fn daemon() -> Daemon {
    let answers = |directory: &Path| {
        let sockets = ["virtqemud-sock", "libvirt-sock"];
        sockets.iter().any(|socket| UnixStream::connect(directory.join("libvirt").join(socket)).is_ok())
    };
    if is_root() {
        return Daemon { uri: "qemu:///system", answers: answers(Path::new("/run")), may_start: false };
    }
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let installed = ["/usr/sbin/virtqemud", "/usr/sbin/libvirtd"].iter().any(|daemon| Path::new(daemon).exists());
    Daemon { uri: "qemu:///session", answers: runtime.as_deref().is_some_and(answers), may_start: installed }
}

/// Returns the host in a URI that points to another one.
fn remote_host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => host.split(':').next()?,
    };
    let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_local = ["", "localhost", "127.0.0.1", "::1", here.trim()].contains(&host);
    (!is_local).then_some(host)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_are_told_from_this_one() {
        for (uri, host) in [
            ("qemu+ssh://user@build.example:22/system", Some("build.example")),
            ("qemu+tls://[fe80::1]/system", Some("fe80::1")),
            ("qemu+tcp://localhost/system", None),
            ("qemu:///system", None),
            ("qemu:///embed?root=/a@b", None),
            ("test:///default", None),
        ] {
            assert_eq!(remote_host(uri), host, "{uri}");
        }
    }

    #[test]
    fn the_default_uri_is_read_from_libvirts_settings() {
        assert_eq!(
            uri_default("# uri_default = \"no\"\n\nuri_default = \"qemu:///session\"").unwrap(),
            "qemu:///session"
        );
        assert_eq!(uri_default("#uri_default = \"qemu:///system\"\nuri_aliases = []"), None);
    }
}
