//! The port's calls, each as one or two of libvirt's.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use crate::agent::Agent;
use crate::error::{Error, Result};
use crate::hypervisor::{
    Accelerator, Clone, Domain, DomainDocument, DomainSpec, Guest, Hypervisor, Snapshot, SnapshotSpec,
};
use crate::libvirt::domain_xml::{self, DomainType};
use crate::libvirt::transport::Channel;
use crate::libvirt::xml::Element;
use crate::libvirt::{embed, fault, kvm, metadata_xml, qemu_img, snapshot_xml};
use crate::paths::Paths;
use crate::stop::Stop;

const DEFAULT_EMULATOR: &str = "qemu-system-x86_64";
const POLL: Duration = Duration::from_millis(50);

/// A connection to libvirt.
pub struct Libvirt {
    connect: Connect,
    /// As it was asked for; the guests' own connections use it too.
    uri: String,
    cache: PathBuf,
    accelerator: OnceLock<Accelerator>,
}

impl Libvirt {
    pub fn new(connect: Connect, uri: &str, paths: &Paths) -> Self {
        Self { connect, uri: uri.to_string(), cache: paths.cache.clone(), accelerator: OnceLock::new() }
    }

    fn find(&self, name: &str) -> Result<Option<VirtDomain>> {
        match self.connect.lookup_domain_by_name(name) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if fault::is_missing_domain(&error) => Ok(None),
            Err(error) => Err(fault::failed(format!("cannot look up the domain `{name}`"), &error)),
        }
    }

    fn must_find(&self, name: &str) -> Result<VirtDomain> {
        self.find(name)?.ok_or_else(|| {
            Error::failed(format!("there is no domain `{name}`"))
                .hint(format!("`virsh -c {} list --all` shows the domains", self.uri()))
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

    /// The emulator that libvirt starts for our guests.
    fn emulator(&self) -> String {
        let capabilities = self.connect.capabilities().ok().and_then(|xml| Element::parse(&xml).ok());
        let emulator = capabilities.as_ref().and_then(|capabilities| {
            let mut architectures = capabilities.all("guest").filter_map(|guest| guest.find("arch"));
            architectures.find(|arch| arch.get("name") == Some("x86_64"))?.text_of("emulator")
        });
        emulator.unwrap_or(DEFAULT_EMULATOR).to_string()
    }

    /// Removes what QEMU printed for a transient domain: libvirt starts a log for each name and removes none.
    fn remove_log(&self, name: &str) {
        let directory = match embed::root_of(&self.uri) {
            Some(root) => Some(root.join("log/qemu")),
            None if self.uri().ends_with("/system") => Some(PathBuf::from("/var/log/libvirt/qemu")),
            None => self.cache.parent().map(|cache| cache.join("libvirt/qemu/log")),
        };
        // Another host's or another user's log cannot be removed, and need not be.
        let _ = directory.map(|directory| std::fs::remove_file(directory.join(format!("{name}.log"))));
    }

    fn destroy_if_active(&self, name: &str, domain: &VirtDomain) -> Result<()> {
        match domain.destroy() {
            Ok(()) => Ok(()),
            Err(error) if matches!(fault::code(&error), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) => {
                Ok(())
            }
            Err(error) => Err(fault::failed(format!("cannot stop the domain `{name}`"), &error)),
        }
    }
}

impl Hypervisor for Libvirt {
    fn uri(&self) -> String {
        self.connect.uri().unwrap_or_else(|_| self.uri.clone())
    }

    fn accelerator(&self) -> Result<Accelerator> {
        if let Some(known) = self.accelerator.get() {
            return Ok(known.clone());
        }
        let accelerator = if self.is_simulated() {
            Accelerator::Tcg("libvirt's test driver runs no guests".to_string())
        } else {
            kvm::accelerator(&self.emulator(), &self.cache)?
        };
        Ok(self.accelerator.get_or_init(|| accelerator).clone())
    }

    fn is_simulated(&self) -> bool {
        self.uri.starts_with("test:")
    }

    fn domains(&self) -> Result<Vec<Domain>> {
        let failed = |error: VirtError| fault::failed("cannot list the domains", &error);
        let mut domains = Vec::new();
        for domain in self.connect.list_all_domains(0).map_err(failed)? {
            match describe(&domain) {
                Ok(domain) => domains.push(domain),
                // A transient one that ended meanwhile.
                Err(error) if fault::is_missing_domain(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(domains)
    }

    fn domain(&self, name: &str) -> Result<Option<Domain>> {
        let Some(found) = self.find(name)? else { return Ok(None) };
        let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
        let (mut domain, xml) = match describe(&found).and_then(|domain| Ok((domain, found.xml_desc(flags)?))) {
            Ok(found) => found,
            Err(error) if fault::is_missing_domain(&error) => return Ok(None),
            Err(error) => return Err(fault::failed(format!("cannot read the domain `{name}`"), &error)),
        };
        let document = DomainDocument(xml);
        let element = domain_xml::parse(&document)?;
        domain.disks = domain_xml::disks(&element).into_iter().map(|(_, file)| file).collect();
        domain.metadata = metadata_xml::read(&element)?;
        domain.document = Some(document);
        Ok(Some(domain))
    }

    fn define(&self, spec: &DomainSpec) -> Result<()> {
        let xml = domain_xml::build(spec, self.domain_type()?)?.to_string();
        self.connect
            .define_domain_xml(&xml)
            .map(|_| ())
            .map_err(|error| fault::failed(format!("cannot define the domain `{}`", spec.name), &error))
    }

    fn undefine(&self, name: &str) -> Result<()> {
        let Some(domain) = self.find(name)? else { return Ok(()) };
        self.destroy_if_active(name, &domain)?;
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
        let failed = |error| fault::failed(format!("cannot list the snapshots of `{domain}`"), &error);
        let found = self.must_find(domain)?;
        let mut snapshots = Vec::new();
        for snapshot in found.list_all_snapshots(0).map_err(failed)? {
            let xml = snapshot.xml_desc(sys::VIR_DOMAIN_SNAPSHOT_XML_SECURE).map_err(failed)?;
            snapshots.push(snapshot_xml::read(&xml, snapshot.is_current(0).map_err(failed)?)?);
        }
        Ok(snapshots)
    }

    fn redefine_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        let failed = |error| {
            fault::failed(format!("cannot put the snapshot `{}` into the tree of `{domain}`", spec.name), &error)
        };
        let found = self.must_find(domain)?;
        let uuid = found.uuid_string().map_err(failed)?;
        let xml = snapshot_xml::build(spec, domain, &uuid)?.to_string();
        let mut flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
        if spec.current {
            flags |= sys::VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
        }
        found.create_snapshot_xml(&xml, flags).map(|_| ()).map_err(failed)
    }

    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()> {
        let failed = |error| fault::failed(format!("cannot remove the snapshot `{snapshot}` of `{domain}`"), &error);
        let found = self.must_find(domain)?;
        let found = VirtDomain::lookup_snapshot_by_name(&found, snapshot, 0).map_err(failed)?;
        // The test driver has nothing but metadata, and does not know the flag.
        let flags = if self.is_simulated() { 0 } else { sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY };
        found.delete(flags).map_err(failed)
    }

    fn start_clone(&self, clone: &Clone) -> Result<()> {
        let mut domain = domain_xml::build_clone(clone, self.domain_type()?)?;
        if let Some(root) = embed::root_of(&self.uri) {
            domain_xml::place_agent(&mut domain, &embed::agent_socket(&root, &clone.uuid));
        }
        self.connect
            .create_domain_xml(&domain.to_string(), sys::VIR_DOMAIN_NONE)
            .map(|_| ())
            .map_err(|error| fault::failed(format!("cannot start the domain `{}`", clone.name), &error))
    }

    fn destroy(&self, name: &str) -> Result<()> {
        // The log of a domain that ended by itself may tell why, and stays.
        let Some(domain) = self.find(name)? else { return Ok(()) };
        self.destroy_if_active(name, &domain)?;
        self.remove_log(name);
        Ok(())
    }

    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        let channel = Channel::open(&self.uri, domain)
            .map_err(|error| fault::failed(format!("cannot reach the guest of `{domain}`"), &error))?;
        Ok(Box::new(Agent::new(channel, domain)))
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
        Ok(())
    }

    fn backing_chain(&self, image: &Path) -> Result<Vec<PathBuf>> {
        qemu_img::backing_chain(image)
    }

    fn create_overlay(&self, overlay: &Path, backing: &Path) -> Result<()> {
        qemu_img::create(overlay, backing)
    }

    fn copy_image(&self, from: &Path, to: &Path, size: Option<u64>) -> Result<()> {
        qemu_img::copy(from, to)?;
        size.map_or(Ok(()), |size| qemu_img::resize(to, size))
    }
}

fn describe(domain: &VirtDomain) -> Result<Domain, VirtError> {
    Ok(Domain {
        name: domain.name()?,
        uuid: domain.uuid_string()?,
        is_active: domain.is_active()?,
        is_persistent: domain.is_persistent()?,
        document: None,
        disks: Vec::new(),
        metadata: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hypervisor::{DiskState, Firmware, Metadata, Network};
    use crate::libvirt::connect;

    fn paths(directory: &Path) -> Paths {
        let [store, cache, embed, stdlib] = ["s", "c", "e", "l"].map(|name| directory.join(name));
        Paths { store, cache, embed, stdlib }
    }

    fn connected() -> Arc<dyn Hypervisor> {
        let directory = tempfile::tempdir().unwrap();
        connect(Some("test:///default"), &paths(directory.path())).unwrap().hypervisor
    }

    fn spec(name: &str, uuid: &str) -> DomainSpec {
        DomainSpec {
            name: name.to_string(),
            uuid: uuid.to_string(),
            description: String::new(),
            memory: 256 << 20,
            cpus: 1,
            cpu_model: None,
            firmware: Firmware::Bios,
            network: Network::User,
            boot: None,
            disk: "/s/disk.qcow2".into(),
            extra_xml: String::new(),
            metadata: Metadata {
                attributes: [("key".to_string(), "a'b".to_string())].into(),
                lines: vec!["run <x>".to_string()],
                payload: vec![1, 2, 3],
            },
        }
    }

    #[test]
    fn the_test_driver_connects_and_lists_its_domain() {
        let hypervisor = connected();
        assert_eq!(hypervisor.uri(), "test:///default");
        assert!(hypervisor.is_simulated());
        let domains = hypervisor.domains().unwrap();
        assert!(domains.iter().any(|domain| domain.name == "test" && domain.is_active && domain.is_persistent));
        assert!(hypervisor.domain("nope").unwrap().is_none());
        assert!(hypervisor.snapshots("test").unwrap().is_empty());
    }

    #[test]
    fn a_defined_domain_keeps_its_metadata_and_its_snapshots() {
        let hypervisor = connected();
        let name = "vm & <'x'> \"日本\"";
        let spec = spec(name, "7905b3da-7e40-4b12-b27a-c24db19ca4dc");
        hypervisor.define(&spec).unwrap();
        let domain = hypervisor.domain(name).unwrap().unwrap();
        assert_eq!(domain.metadata.as_ref(), Some(&spec.metadata));
        assert_eq!(domain.disks, [PathBuf::from("/s/disk.qcow2")]);

        let snapshot = SnapshotSpec {
            name: "sn01 <a>".to_string(),
            parent: None,
            comment: "fresh & new".to_string(),
            created: 1_700_000_000,
            current: true,
            document: domain.document.unwrap(),
            disks: vec![DiskState { target: "vda".into(), layer: "/s/l".into(), overlay: "/s/o".into() }],
            metadata: spec.metadata.clone(),
        };
        hypervisor.redefine_snapshot(name, &snapshot).unwrap();
        let child = SnapshotSpec { name: "child".into(), parent: Some("sn01 <a>".into()), current: false, ..snapshot };
        hypervisor.redefine_snapshot(name, &child).unwrap();
        hypervisor.define(&spec).unwrap();

        let mut snapshots = hypervisor.snapshots(name).unwrap();
        snapshots.sort_by_key(|snapshot| snapshot.parent.is_some());
        let [root, child] = snapshots.try_into().unwrap();
        assert_eq!((root.name.as_str(), root.is_current), ("sn01 <a>", true));
        assert_eq!((child.parent.as_deref(), child.is_current), (Some("sn01 <a>"), false));
        assert_eq!(root.comment, "fresh & new");
        assert_eq!(root.created, 1_700_000_000);
        assert_eq!(root.layers, [("vda".to_string(), PathBuf::from("/s/l"))]);
        assert_eq!(root.metadata, Some(spec.metadata));

        hypervisor.delete_snapshot_metadata(name, "sn01 <a>").unwrap();
        assert_eq!(hypervisor.snapshots(name).unwrap()[0].parent, None);
        hypervisor.undefine(name).unwrap();
        assert!(hypervisor.domain(name).unwrap().is_none());
        hypervisor.undefine(name).unwrap();
    }

    #[test]
    fn a_clone_runs_until_it_is_destroyed() {
        let hypervisor = connected();
        let spec = spec("cloned", "8905b3da-7e40-4b12-b27a-c24db19ca4dc");
        hypervisor.define(&spec).unwrap();
        let document = hypervisor.domain("cloned").unwrap().unwrap().document.unwrap();
        let clone = Clone {
            name: "clone".to_string(),
            uuid: "9905b3da-7e40-4b12-b27a-c24db19ca4dc".to_string(),
            document,
            disks: [("vda".to_string(), "/s/clone.qcow2".into())].into(),
            metadata: Metadata::default(),
        };
        hypervisor.start_clone(&clone).unwrap();
        let domain = hypervisor.domain("clone").unwrap().unwrap();
        assert!(domain.is_active && !domain.is_persistent);
        assert_eq!(domain.disks, [PathBuf::from("/s/clone.qcow2")]);
        hypervisor.destroy("clone").unwrap();
        hypervisor.destroy("clone").unwrap();
        let stop = Stop::after(Duration::from_secs(5), &crate::stop::Interrupt::default());
        hypervisor.wait_until_gone("clone", &stop).unwrap();
        hypervisor.undefine("cloned").unwrap();
    }

    #[test]
    fn a_missing_domain_is_told_with_a_hint() {
        let error = connected().snapshots("nope").unwrap_err();
        assert_eq!(error.message, "there is no domain `nope`");
        assert!(error.hint.unwrap().contains("virsh -c test:///default list --all"));
    }

    #[test]
    fn a_connection_that_fails_makes_the_hypervisor_unavailable() {
        let directory = tempfile::tempdir().unwrap();
        let error = connect(Some("qemu+ssh://far.example/system"), &paths(directory.path())).err().unwrap();
        assert_eq!(error.kind, crate::error::Kind::Unavailable);
        let error = connect(Some("test:///nope.xml"), &paths(directory.path())).err().unwrap();
        assert_eq!(error.kind, crate::error::Kind::Unavailable);
        assert_eq!(error.message, "cannot connect to `test:///nope.xml`");
    }
}
