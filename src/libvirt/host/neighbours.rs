//! The domains of the other connections to this host.
//!
//! Each driver writes its domains and their snapshots to files, which are read here: this starts no daemon, needs no
//! answer from one, and works while another process runs an embedded driver. The system's daemon is asked only if its
//! files belong to a user who does not let us read them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use virt::connect::Connect;
use virt::error::Error as VirtError;

use crate::error::Result;
use crate::hypervisor::{Neighbour, Neighbours};
use crate::libvirt::embed;
use crate::libvirt::host::named;
use crate::libvirt::xml::element::Element;
use crate::paths::is_root;

const SYSTEM: &str = "qemu:///system";
/// The longest wait for a daemon that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a driver keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Driver {
    uri: String,
    /// The descriptions of domains at their next start.
    defined: PathBuf,
    /// Those of the domains that run.
    running: PathBuf,
    /// A directory for each domain with snapshots, and for each with checkpoints.
    snapshots: [PathBuf; 2],
    pools: PathBuf,
}

impl Driver {
    fn system() -> Self {
        Self::at(SYSTEM, "/etc/libvirt", "/run/libvirt/qemu", "/var/lib/libvirt/qemu")
    }

    /// The system's drivers for other kinds of guests.
    fn others_of_system() -> [Self; 2] {
        [("lxc:///system", "lxc"), ("xen:///system", "libxl")].map(|(uri, name)| {
            let directory = |base: &str| Path::new(base).join("libvirt").join(name);
            Self {
                defined: directory("/etc"),
                ..Self::at(uri, "/etc/libvirt", directory("/run"), directory("/var/lib"))
            }
        })
    }

    /// The driver of a user's session, with its data on running domains in this directory.
    fn session(of: &str, config: &Path, runtime: &Path) -> Self {
        let config = config.join("libvirt");
        Self::at(of, &config, runtime.join("libvirt/qemu/run"), config.join("qemu/lib"))
    }

    fn embedded(root: &Path) -> Self {
        Self::at(&embed::uri(root), root.join("etc"), root.join("run/qemu"), root.join("lib/qemu"))
    }

    fn at(uri: &str, config: impl AsRef<Path>, running: impl Into<PathBuf>, state: impl AsRef<Path>) -> Self {
        let (config, state) = (config.as_ref(), state.as_ref());
        Self {
            uri: uri.to_string(),
            defined: config.join("qemu"),
            running: running.into(),
            snapshots: ["snapshot", "checkpoint"].map(|directory| state.join(directory)),
            pools: config.join("storage"),
        }
    }

    /// Says whether it is the one that a connection uses. For root, libvirt uses the system's driver as the session's.
    fn is_of(&self, uri: &str, own_session: &[Self], is_root: bool) -> bool {
        let is_session = uri.ends_with("/session");
        match embed::root_of(uri) {
            Some(root) => {
                let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
                real(&self.defined) == real(&Self::embedded(&root).defined)
            }
            None if self.uri == SYSTEM => {
                (is_root && is_session) || (uri.starts_with("qemu") && uri.ends_with("/system"))
            }
            None if self.uri.ends_with("/system") => uri == self.uri,
            None => !is_root && is_session && own_session.contains(self),
        }
    }

    /// Lists its domains with the files that they name. What another user hides is not seen.
    fn domains(&self) -> std::io::Result<Vec<Neighbour>> {
        let pools: Vec<(String, PathBuf)> =
            documents(&self.pools)?.iter().filter_map(|(_, pool)| target(pool)).collect();
        let mut found = Vec::new();
        for (name, element) in documents(&self.defined)?.into_iter().chain(documents(&self.running)?) {
            found.push(self.neighbour(name, &element, &pools));
        }
        for directory in self.snapshots.iter().flat_map(|snapshots| entries(snapshots)) {
            let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            for (_, element) in documents(&directory)? {
                found.push(self.neighbour(name.clone(), &element, &pools));
            }
        }
        Ok(found)
    }

    fn neighbour(&self, domain: String, element: &Element, pools: &[(String, PathBuf)]) -> Neighbour {
        let volumes = named::volumes(element).into_iter().filter_map(|(pool, volume)| {
            let (_, directory) = pools.iter().find(|(name, _)| *name == pool)?;
            Some(directory.join(volume))
        });
        let files = named::files(element).into_iter().chain(volumes).collect();
        Neighbour { connection: self.uri.clone(), domain, files }
    }
}

/// Looks at everything that a user of this host can see, apart from the connection with this URI.
pub fn look(uri: &str, embed: &Path) -> Neighbours {
    let (own_session, mut drivers) = (own_sessions(), vec![Driver::system()]);
    drivers.extend(Driver::others_of_system());
    drivers.extend(own_session.iter().cloned());
    drivers.extend(others().into_iter().filter(|driver| !own_session.contains(driver)));
    let mut roots = vec![embed.to_path_buf(), PathBuf::from("/var/lib/snaptree/embed")];
    roots.extend(homes().into_iter().map(|(_, home)| home.join(".local/share/snaptree/embed")));
    drivers.extend(roots.iter().map(|root| Driver::embedded(root)));
    let mut seen = Vec::new();
    drivers.retain(|driver| {
        !seen.contains(driver) && {
            seen.push(driver.clone());
            true
        }
    });
    let mut neighbours = Neighbours::default();
    for driver in drivers.iter().filter(|driver| !driver.is_of(uri, &own_session, is_root())) {
        match driver.domains() {
            Ok(domains) => neighbours.domains.extend(domains),
            Err(_) if driver.uri == SYSTEM => ask_system(&mut neighbours),
            // Another user's: not for us to see.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => neighbours.silent.push((driver.uri.clone(), error.to_string())),
        }
    }
    neighbours
}

/// The drivers that `qemu:///session` means to this process, by its environment and by libvirt's defaults.
fn own_sessions() -> Vec<Driver> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(home) = variable("HOME") else { return Vec::new() };
    let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let runtime = variable("XDG_RUNTIME_DIR").unwrap_or_else(|| home.join(".cache"));
    let configs = [config, home.join(".config")];
    let mut drivers: Vec<Driver> =
        configs.iter().map(|config| Driver::session("qemu:///session", config, &runtime)).collect();
    drivers.dedup();
    drivers
}

/// The drivers of the sessions of this host's users.
fn others() -> Vec<Driver> {
    let session = |(user, home): (u32, PathBuf)| {
        let uri = format!("qemu:///session of user {user}");
        let runtimes = [PathBuf::from(format!("/run/user/{user}")), home.join(".cache")];
        runtimes.map(|runtime| Driver::session(&uri, &home.join(".config"), &runtime))
    };
    let own = std::env::var_os("HOME").map(PathBuf::from);
    homes().into_iter().filter(|(_, home)| Some(home) != own.as_ref()).flat_map(session).collect()
}

/// The users who may have guests, with their homes.
fn homes() -> Vec<(u32, PathBuf)> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().filter_map(home).collect()
}

/// Reads a user's number and home from a line of `/etc/passwd`; skips the system's own users.
fn home(line: &str) -> Option<(u32, PathBuf)> {
    const FIRST: u32 = 1000;
    const NOBODY: u32 = 65534;
    let mut fields = line.split(':').skip(2);
    let number: u32 = fields.next()?.parse().ok()?;
    let home = fields.nth(2).filter(|home| home.len() > 1 && home.starts_with('/'))?;
    (number == 0 || (number >= FIRST && number != NOBODY)).then(|| (number, home.into()))
}

/// Asks the system's daemon, if one answers, for what its files do not tell us.
fn ask_system(neighbours: &mut Neighbours) {
    let sockets = ["virtqemud-sock-ro", "libvirt-sock-ro"];
    if !sockets.iter().any(|socket| UnixStream::connect(Path::new("/run/libvirt").join(socket)).is_ok()) {
        return;
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone if it took too long.
        let _ = sender.send(asked().map_err(|error| error.message().to_string()));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(domains)) => neighbours.domains.extend(domains),
        Ok(Err(why)) => neighbours.silent.push((SYSTEM.to_string(), why)),
        Err(_) => {
            neighbours.silent.push((SYSTEM.to_string(), format!("no answer within {} seconds", PATIENCE.as_secs())));
        }
    }
}

fn asked() -> Result<Vec<Neighbour>, VirtError> {
    let connect = Connect::open_read_only(Some(SYSTEM))?;
    let mut found = Vec::new();
    for domain in connect.list_all_domains(0)? {
        let name = domain.name()?;
        let mut documents = vec![domain.xml_desc(0)?, domain.xml_desc(virt::sys::VIR_DOMAIN_XML_INACTIVE)?];
        for snapshot in domain.list_all_snapshots(0)? {
            documents.push(snapshot.xml_desc(0)?);
        }
        let elements = documents.iter().filter_map(|document| Element::parse(document).ok());
        let files = elements.flat_map(|element| named::files(&element)).collect();
        found.push(Neighbour { connection: SYSTEM.to_string(), domain: name, files });
    }
    Ok(found)
}

/// Reads the descriptions in a directory, which need not be there, with their files' names.
fn documents(directory: &Path) -> std::io::Result<Vec<(String, Element)>> {
    let files = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        files => files?,
    };
    let mut found = Vec::new();
    for path in files.flatten().map(|entry| entry.path()) {
        let is_regular = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.size() > 0);
        if !is_regular || path.extension().is_none_or(|ending| ending != "xml") {
            continue;
        }
        let text = match fs::read_to_string(&path) {
            // It was undefined meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text?,
        };
        // What libvirt could not read either is no domain.
        if let Ok(element) = Element::parse(&text) {
            found.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), element));
        }
    }
    Ok(found)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Returns the name and the directory of a storage pool.
fn target(pool: &Element) -> Option<(String, PathBuf)> {
    Some((pool.text_of("name")?.to_string(), pool.find("target")?.text_of("path")?.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_drivers_files_tell_of_its_domains_and_their_snapshots() {
        let root = tempfile::tempdir().unwrap();
        let driver = Driver::embedded(root.path());
        assert_eq!(driver.domains().unwrap(), []);
        let disk = |file: &str| format!("<domain><devices><disk><source file='{file}'/></disk></devices></domain>");
        write(&root.path().join("etc/qemu/a.xml"), &format!("<!-- by libvirt -->\n{}", disk("/d/a")));
        write(&root.path().join("etc/qemu/networks/net.xml"), &disk("/d/no"));
        write(&root.path().join("etc/qemu/broken.xml"), "<domain");
        write(&root.path().join("run/qemu/b.xml"), &format!("<domstatus>{}</domstatus>", disk("/d/b")));
        write(
            &root.path().join("lib/qemu/snapshot/a/s1.xml"),
            &format!("<domainsnapshot>{}</domainsnapshot>", disk("/d/s1")),
        );
        write(&root.path().join("etc/qemu/v.xml"), "<domain><disk><source pool='p' volume='v'/></disk></domain>");
        write(&root.path().join("etc/storage/p.xml"), "<pool><name>p</name><target><path>/pool</path></target></pool>");
        let mut found: Vec<(String, Vec<PathBuf>)> =
            driver.domains().unwrap().into_iter().map(|it| (it.domain, it.files)).collect();
        found.sort();
        let expected = [("a", "/d/a"), ("a", "/d/s1"), ("b", "/d/b"), ("v", "/pool/v")]
            .map(|(name, file)| (name.into(), vec![file.into()]));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_connection_in_use_is_no_neighbour_of_itself() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        fs::create_dir_all(real.join("etc/qemu")).unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        let session = Driver::session("qemu:///session", Path::new("/h/.config"), Path::new("/run/user/1"));
        let own = [session.clone()];
        let is_of = |driver: &Driver, uri: &str| driver.is_of(uri, &own, false);
        assert!(is_of(&Driver::embedded(&real), &embed::uri(&link)));
        assert!(!is_of(&Driver::embedded(&real), "qemu:///system"));
        assert!(is_of(&Driver::system(), "qemu+unix:///system") && !is_of(&Driver::system(), "qemu:///session"));
        assert!(is_of(&session, "qemu:///session") && !session.is_of("qemu:///session", &[], false));
        assert!(Driver::system().is_of("qemu:///session", &own, true) && !session.is_of("qemu:///session", &own, true));
        let lxc = &Driver::others_of_system()[0];
        assert!(is_of(lxc, "lxc:///system") && !is_of(lxc, "qemu:///system"));
        assert!(!is_of(&Driver::system(), "lxc:///system"));
    }

    #[test]
    fn homes_are_those_of_people() {
        assert_eq!(home("root:x:0:0:root:/root:/bin/bash"), Some((0, "/root".into())));
        assert_eq!(home("ann:x:1000:1000::/home/ann:/bin/sh"), Some((1000, "/home/ann".into())));
        for other in ["bin:x:2:2:bin:/bin:/x", "nobody:x:65534:65534::/nonexistent:/x", "broken", "a:x:1000:1000:::/x"]
        {
            assert_eq!(home(other), None, "{other}");
        }
    }
}
