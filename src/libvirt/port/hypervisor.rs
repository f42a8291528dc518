//! The port's calls, each as one or two of libvirt's.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::sys;

use crate::agent::Agent;
use crate::error::{Error, Result};
use crate::hypervisor::{
    Accelerator, CatchUp, Clone, Console, DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec,
    Fingerprint, Frozen, Guest, Hypervisor, Image, Liveness, Neighbours, Ram, Reaping, RevertFlags, Saved, Snapshot,
    SnapshotRequest, SnapshotSpec, Start, Version,
};
use crate::libvirt::clone::clone_xml;
use crate::libvirt::domain::{block_job, domains, power};
use crate::libvirt::guest::stream_console::StreamConsole;
use crate::libvirt::guest::transport::Channel;
use crate::libvirt::host::{kvm, left_behind, named, neighbours, process, reaping};
use crate::libvirt::image::{depends, overlay, qcow2, qemu_img};
use crate::libvirt::memory::live::{self, Owner};
use crate::libvirt::memory::live_trial::{self, Question};
use crate::libvirt::snapshot::{internal, snapshots, take};
use crate::libvirt::xml::domain_xml::{self, DomainType};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{live_xml, snapshot_xml};
use crate::libvirt::{embed, fault};
use crate::paths::Paths;
use crate::shell;
use crate::stop::Stop;

const DEFAULT_EMULATOR: &str = "qemu-system-x86_64";
const POLL: Duration = Duration::from_millis(50);

/// A connection to libvirt.
pub struct Libvirt {
    /// Opened anew when it was lost.
    connect: Mutex<Connect>,
    /// As it was asked for; the guests' own connections use it too.
    uri: String,
    cache: PathBuf,
    /// The root of the in-process driver.
    embed: PathBuf,
    logs_of_user: PathBuf,
    accelerator: OnceLock<Accelerator>,
    capabilities: OnceLock<Option<Element>>,
    /// How guests can have their RAM kept, by directory.
    liveness: Mutex<Vec<(PathBuf, Liveness)>>,
}

impl Libvirt {
    pub fn new(connect: Connect, uri: &str, paths: &Paths) -> Self {
        Self {
            connect: Mutex::new(connect),
            uri: uri.to_string(),
            cache: paths.cache.clone(),
            embed: paths.embed.clone(),
            logs_of_user: paths.libvirt_logs.clone(),
            accelerator: OnceLock::new(),
            capabilities: OnceLock::new(),
            liveness: Mutex::default(),
        }
    }

    fn connect(&self) -> Connect {
        self.connect.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, name: &str) -> Result<Option<VirtDomain>> {
        match self.connect().lookup_domain_by_name(name) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if fault::is_missing_domain(&error) => Ok(None),
            Err(error) => Err(fault::failed(format!("cannot look up the domain `{name}`"), &error)),
        }
    }

    fn must_find(&self, name: &str) -> Result<VirtDomain> {
        self.find(name)?.ok_or_else(|| {
            Error::failed(format!("there is no domain `{name}`"))
                .hint(format!("`virsh -c {} list --all` shows the domains", shell::word(&self.uri())))
        })
    }

    fn domain_type(&self) -> Result<DomainType> {
        if self.is_simulated() {
            return Ok(DomainType::Test);
        }
        Ok(match self.accelerator()? {
            Accelerator::Kvm => DomainType::Kvm,
            Accelerator::Tcg(_) => DomainType::Qemu,
        })
    }

    /// What libvirt says of itself and the host.
    fn capabilities(&self) -> Option<&Element> {
        let read = || self.connect().capabilities().ok().and_then(|xml| Element::parse(&xml).ok());
        self.capabilities.get_or_init(read).as_ref()
    }

    /// The user that libvirt runs QEMU as.
    fn owner(&self) -> Option<Owner> {
        self.capabilities().and_then(Owner::of)
    }

    /// libvirt's version and QEMU's, as numbers.
    fn versions(&self) -> Result<[u64; 2]> {
        let failed = |error| fault::failed("cannot ask libvirt for the version of QEMU", &error);
        let libvirt = self.connect().lib_version().map_err(failed)?;
        let qemu = self.connect().hyp_version().map_err(failed)?;
        Ok([libvirt.into(), qemu.into()])
    }

    /// The emulator that libvirt starts for our guests.
    fn default_emulator(&self) -> String {
        let emulator = self.capabilities().and_then(|capabilities| {
            let mut architectures = capabilities.all("guest").filter_map(|guest| guest.find("arch"));
            architectures.find(|arch| arch.get("name") == Some("x86_64"))?.text_of("emulator")
        });
        emulator.unwrap_or(DEFAULT_EMULATOR).to_string()
    }

    /// Removes what QEMU and the programs beside it printed for a transient domain: libvirt starts logs for each name and
    /// removes none.
    fn remove_log(&self, name: &str) {
        let directories = match embed::root_of(&self.uri) {
            Some(root) => left_behind::logs_in(&root.join("log")),
            None if self.uri().ends_with("/system") => left_behind::logs_of_system(),
            None => vec![self.logs_of_user.clone()],
        };
        directories.iter().for_each(|directory| left_behind::remove_logs(directory, name));
    }
}

impl Hypervisor for Libvirt {
    fn uri(&self) -> String {
        self.connect().uri().unwrap_or_else(|_| self.uri.clone())
    }

    fn revive(&self) -> Result<()> {
        if self.connect().is_alive().unwrap_or(false) {
            return Ok(());
        }
        let lost = || Error::unavailable(format!("the connection to `{}` was lost", self.uri));
        let anew = Connect::open(Some(&self.uri)).map_err(|error| {
            lost().cause(error.message()).hint("start the libvirt daemon again; the next line tries to connect anew")
        })?;
        *self.connect.lock().unwrap_or_else(PoisonError::into_inner) = anew;
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        let failed = |error| fault::failed("cannot ask libvirt for its version", &error);
        let version = self.connect().lib_version().map_err(failed)?;
        Ok(Version::new(version / 1_000_000, version / 1000 % 1000, version % 1000))
    }

    fn accelerator(&self) -> Result<Accelerator> {
        if let Some(known) = self.accelerator.get() {
            return Ok(known.clone());
        }
        let accelerator = if self.is_simulated() {
            Accelerator::Tcg("libvirt's test driver runs no guests".to_string())
        } else {
            kvm::accelerator(&self.default_emulator(), &self.cache)?
        };
        Ok(self.accelerator.get_or_init(|| accelerator).clone())
    }

    fn is_simulated(&self) -> bool {
        self.uri.starts_with("test:")
    }

    fn domains(&self) -> Result<Vec<Domain>> {
        domains::list(&self.connect())
    }

    fn domain(&self, name: &str) -> Result<Option<DomainDetails>> {
        self.find(name)?.map_or(Ok(None), |domain| domains::details(&domain, name))
    }

    fn live_document(&self, name: &str) -> Result<Document> {
        domains::live_document(&self.must_find(name)?, name)
    }

    fn disk_images(&self, name: &str) -> Result<Vec<Image>> {
        domains::disk_images(&self.must_find(name)?, name)
    }

    fn define(&self, spec: &DomainSpec) -> Result<()> {
        let xml = domain_xml::build(spec, self.domain_type()?)?.to_string();
        domains::define(&self.connect(), &spec.name, &xml)
    }

    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()> {
        let xml = domain_xml::build_redefinition(document, &domain_xml::parse(now)?, disks)?.to_string();
        domains::define(&self.connect(), domain, &xml)
    }

    fn undefine(&self, name: &str) -> Result<()> {
        let Some(domain) = self.find(name)? else { return Ok(()) };
        power::destroy(&domain, name)?;
        let minimal = sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
        let thorough = sys::VIR_DOMAIN_UNDEFINE_NVRAM | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
        let flags = if self.is_simulated() { minimal } else { minimal | thorough };
        match domain.undefine_flags(flags) {
            Ok(()) => Ok(()),
            // It was transient and went with the destruction.
            Err(error) if fault::is_missing_domain(&error) => Ok(()),
            Err(error) => Err(fault::failed(format!("cannot undefine the domain `{name}`"), &error)),
        }
    }

    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        snapshots::list(&self.must_find(domain)?, domain)
    }

    fn snapshot_names(&self, domain: &str) -> Result<Vec<String>> {
        snapshots::names(&self.must_find(domain)?, domain)
    }

    fn read_snapshot(&self, document: &Document) -> Result<Snapshot> {
        snapshot_xml::read(document)
    }

    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document> {
        snapshot_xml::comment(document, comment).map(|snapshot| Document(snapshot.to_string()))
    }

    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()> {
        const KNOWS_VALIDATE: Version = Version::new(5, 6, 0);
        let validate = !self.is_simulated() && self.version()? >= KNOWS_VALIDATE;
        take::create(&self.connect(), &self.must_find(domain)?, domain, request, validate)
    }

    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()> {
        snapshots::revert(&self.must_find(domain)?, domain, snapshot, flags)
    }

    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()> {
        snapshots::delete_internal(&self.must_find(domain)?, domain, snapshot)
    }

    fn put_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()> {
        snapshots::put(&self.must_find(domain)?, domain, document, parent, current)
    }

    fn redefine_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        snapshots::put_new(&self.must_find(domain)?, domain, spec)
    }

    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()> {
        // The test driver has nothing but metadata, and does not know the flag.
        let flags = if self.is_simulated() { 0 } else { sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY };
        snapshots::delete(&self.must_find(domain)?, domain, snapshot, flags)
    }

    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>> {
        Ok(clone_xml::obstacle(&domain_xml::parse(document)?))
    }

    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>> {
        // What is malformed is refused when the machine is defined.
        let devices = Element::parse_all(extra_xml).unwrap_or_default();
        Ok(clone_xml::obstacle(&Element::new("domain").child(Element::new("devices").children(devices))))
    }

    fn start_clone(&self, clone: &Clone) -> Result<()> {
        let mut domain = clone_xml::build_clone(clone, self.domain_type()?, Path::exists)?;
        if let Some(root) = embed::root_of(&self.uri) {
            domain_xml::place_ports(&mut domain, |port| embed::socket(&root, &clone.uuid, port))?;
        }
        // Where nothing of QEMU's own may be in a domain, the RAM is left to libvirt.
        if clone.ram != Ram::Default {
            live_xml::ask_less(&mut domain);
        }
        live::start(&self.connect(), &clone.name, domain, &clone.ram, clone.from.as_ref(), clone.paused, self.owner())
    }

    fn reaping(&self) -> Option<Reaping> {
        let uri = self.uri();
        match embed::root_of(&uri) {
            Some(_) => Some(reaping::here()),
            None if self.is_simulated() => None,
            None => Some(reaping::of_daemon(uri.ends_with("/system"))),
        }
    }

    fn emulator(&self) -> Result<String> {
        let [_, qemu] = self.versions()?;
        Ok(with_version(&self.default_emulator(), qemu))
    }

    fn liveness(&self, document: Option<&Document>, directory: &Path) -> Result<Liveness> {
        let domain = document.map(domain_xml::parse).transpose()?;
        if let Some(obstacle) = domain.as_ref().and_then(live_xml::obstacle_to_save) {
            return Ok(Liveness::No(obstacle.to_string()));
        }
        if self.is_simulated() {
            return Ok(Liveness::No("libvirt's test driver runs no guests".to_string()));
        }
        if let Some(obstacle) = domain.as_ref().and_then(live_xml::obstacle_to_map) {
            return Ok(Liveness::Saved(obstacle.to_string()));
        }
        let mut known = self.liveness.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, liveness)) = known.iter().find(|(place, _)| place == directory) {
            return Ok(liveness.clone());
        }
        let question = Question {
            boot_id: kvm::boot_id(),
            uri: self.uri(),
            emulator: self.default_emulator(),
            versions: self.versions()?,
            directory: directory.to_path_buf(),
        };
        let (connect, owner, kind) = (self.connect(), self.owner(), self.domain_type()?);
        let forget = |name: &str| self.remove_log(name);
        let liveness = live_trial::liveness(&connect, question, &self.cache, owner, kind, &forget)?;
        known.push((directory.to_path_buf(), liveness.clone()));
        Ok(liveness)
    }

    fn fingerprint(&self, document: &Document) -> Result<Fingerprint> {
        let mut domain = domain_xml::parse(document)?;
        domain_xml::adapt(&mut domain, self.domain_type()?);
        // The guest is one of a clone's, which may have fewer devices than the original.
        clone_xml::normalize(&mut domain);
        let mut fingerprint = live_xml::fingerprint(&domain);
        let emulator = domain.find("devices").and_then(|devices| devices.text_of("emulator"));
        let [_, qemu] = self.versions()?;
        fingerprint.insert("QEMU".to_string(), with_version(emulator.unwrap_or(DEFAULT_EMULATOR), qemu));
        Ok(fingerprint)
    }

    fn has_generation_id(&self, document: &Document) -> Result<bool> {
        Ok(domain_xml::parse(document)?.find("genid").is_some())
    }

    fn own_memory(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.and_then(|_| process::own_memory(name)))
    }

    fn wake(&self, name: &str, ram: &Ram, from: &Frozen, paused: bool) -> Result<()> {
        let mut domain = domain_xml::parse(&domains::next_document(&self.must_find(name)?, name)?)?;
        domain_xml::set_generation_id(&mut domain, &uuid::Uuid::new_v4().to_string());
        live::start(&self.connect(), name, domain, ram, Some(from), paused, self.owner())
    }

    fn freeze(&self, name: &str, state: &Frozen) -> Result<()> {
        live::freeze(&self.must_find(name)?, name, state, self.owner())
    }

    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        live::freeze_running(&self.must_find(name)?, name, file, self.owner(), meanwhile)
    }

    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()> {
        live::copy_ram(from, to, self.owner())
    }

    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp> {
        let following = live::follow_ram(from, to, self.owner())?;
        Ok(Box::new(move || following.catch_up()))
    }

    fn forward(&self, name: &str, guest_port: u16) -> Result<u16> {
        live::forward(&self.must_find(name)?, name, guest_port)
    }

    fn start(&self, name: &str, start: Start) -> Result<()> {
        power::start(&self.must_find(name)?, name, start)
    }

    fn attach(&self, name: &str, document: &Document, disk: &DiskFile) -> Result<()> {
        power::attach(&self.must_find(name)?, name, document, disk)
    }

    fn shutdown(&self, name: &str) -> Result<()> {
        power::shutdown(&self.must_find(name)?, name)
    }

    fn suspend(&self, name: &str) -> Result<()> {
        power::suspend(&self.must_find(name)?, name)
    }

    fn resume(&self, name: &str) -> Result<()> {
        power::resume(&self.must_find(name)?, name)
    }

    fn save(&self, name: &str, file: &Path) -> Result<Saved> {
        power::save(&self.must_find(name)?, name, file)
    }

    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
        power::restore(&self.connect(), file, disks, paused)
    }

    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)> {
        power::screenshot(&self.connect(), &self.must_find(name)?, name)
    }

    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()> {
        block_job::pull(&self.must_find(name)?, name, target, stop)
    }

    fn destroy(&self, name: &str) -> Result<()> {
        // The log of a domain that ended by itself may tell why, and stays.
        if let Some(domain) = self.find(name)? {
            power::destroy(&domain, name)?;
            self.remove_log(name);
        }
        left_behind::remove_shared_memory(name);
        Ok(())
    }

    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        let channel = Channel::open(&self.uri, domain)
            .map_err(|error| fault::failed(format!("cannot reach the guest of `{domain}`"), &error))?;
        Ok(Box::new(Agent::new(channel, domain)))
    }

    fn console(&self, domain: &str) -> Result<Box<dyn Console>> {
        let console = StreamConsole::open(&self.uri, domain)
            .map_err(|error| fault::failed(format!("cannot open the console of `{domain}`"), &error))?;
        Ok(Box::new(console))
    }

    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()> {
        loop {
            match self.find(domain)?.map(|found| found.is_active()) {
                None | Some(Ok(false)) => break,
                Some(Err(error)) if fault::is_missing_domain(&error) => break,
                Some(Err(error)) => return Err(fault::failed(format!("cannot look at the domain `{domain}`"), &error)),
                Some(Ok(true)) => {}
            }
            stop.check(|| format!("the shutdown of `{domain}`"))?;
            stop.sleep(POLL);
        }
        self.remove_log(domain);
        left_behind::remove_shared_memory(domain);
        Ok(())
    }

    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>> {
        qcow2::backing_chain(image)
    }

    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>> {
        depends::depends_on(file)
    }

    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>> {
        let element = domain_xml::parse(document)?;
        let volumes = named::volumes(&element);
        let volumes = volumes.iter().filter_map(|(pool, volume)| named::file_of(&self.connect(), pool, volume));
        Ok(named::files(&element).into_iter().chain(volumes).collect())
    }

    fn neighbours(&self) -> Neighbours {
        // The test driver's files are made up.
        if self.is_simulated() { Neighbours::default() } else { neighbours::look(&self.uri(), &self.embed) }
    }

    fn data_file(&self, image: &Image) -> Result<Option<PathBuf>> {
        qcow2::data_file(image)
    }

    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()> {
        overlay::create(overlay, backing)
    }

    fn copy_image(&self, from: &Image, to: &Path, size: Option<u64>) -> Result<()> {
        qemu_img::copy(from, to)?;
        size.map_or(Ok(()), |size| qemu_img::resize(to, size))
    }

    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()> {
        qemu_img::copy_internal(image, snapshot, to)
    }

    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize> {
        internal::count(image, snapshot)
    }

    fn flatten(&self, image: &Path) -> Result<()> {
        qemu_img::flatten(image)
    }
}

fn with_version(emulator: &str, version: u64) -> String {
    format!("{emulator} {}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
#[path = "hypervisor_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "qemu_tests.rs"]
mod qemu_tests;
