//! A domain's XML: built for a new machine, rewritten for a clone or another state. [`domain_facts`] reads it.
//!
//! [`domain_facts`]: crate::libvirt::xml::domain_facts

use std::path::{Path, PathBuf};

use crate::channel::PORT;
use crate::error::{Error, Result};
use crate::hypervisor::{DiskChanges, Document, DomainSpec, Firmware, Network};
use crate::libvirt::embed;
use crate::libvirt::xml::domain_facts::{devices_mut, is_port};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{disk_xml, live_xml, metadata_xml};
use crate::name::is_long_for_sockets;
use crate::paths::for_libvirt;

/// The longest path of a socket, in bytes.
const LONGEST_SOCKET: usize = 107;

/// The port of the guest agent.
const AGENT: &str = "org.qemu.guest_agent.0";

/// What runs the domains of a connection, as in `<domain type='...'>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainType {
    Kvm,
    Qemu,
    /// libvirt's own test driver.
    Test,
}

impl DomainType {
    pub fn word(self) -> &'static str {
        match self {
            DomainType::Kvm => "kvm",
            DomainType::Qemu => "qemu",
            DomainType::Test => "test",
        }
    }

    /// The processor that offers guests the most.
    fn best_cpu(self) -> Option<Element> {
        let cpu = Element::new("cpu");
        match self {
            DomainType::Kvm => Some(cpu.with("mode", "host-passthrough")),
            DomainType::Qemu => Some(cpu.with("mode", "maximum")),
            DomainType::Test => None,
        }
    }
}

/// Builds the `<domain>` of a new machine.
pub fn build(spec: &DomainSpec, domain_type: DomainType) -> Result<Element> {
    let text = |name: &str, text: &str| Element::new(name).text(text);
    let kibibytes = (spec.memory / 1024).to_string();
    let mut domain = Element::new("domain")
        .with("type", domain_type.word())
        .child(text("name", &spec.name))
        .child(text("uuid", &spec.uuid));
    if domain_type != DomainType::Test {
        // It tells a resumed guest's kernel that it runs elsewhere, so that it makes other random numbers there.
        domain.children.push(text("genid", &spec.uuid));
    }
    if !spec.description.is_empty() {
        domain.children.push(text("description", &spec.description));
    }
    metadata_xml::put(&mut domain, &spec.metadata)?;
    domain.children.extend([
        text("memory", &kibibytes).with("unit", "KiB"),
        text("vcpu", &spec.cpus.to_string()),
        os(spec, domain_type)?,
        Element::new("features").child(Element::new("acpi")).child(Element::new("apic")),
    ]);
    domain.children.extend(match &spec.cpu_model {
        Some(model) => {
            let model = text("model", model).with("fallback", "forbid");
            Some(Element::new("cpu").with("mode", "custom").with("match", "exact").child(model))
        }
        None => domain_type.best_cpu(),
    });
    domain.children.extend([text("on_poweroff", "destroy"), text("on_reboot", "restart"), devices(spec)?]);
    if is_long_for_sockets(&spec.name) {
        // The store, below which the disk is in a directory of the machine's: the shortest path that is ours.
        let store = spec.disk.ancestors().nth(3).unwrap_or(&spec.disk);
        let id = spec.uuid.get(..8).unwrap_or(&spec.uuid);
        place_ports(&mut domain, |number| store.join(format!("run/{id}-{number}")))?;
    }
    Ok(domain)
}

fn os(spec: &DomainSpec, domain_type: DomainType) -> Result<Element> {
    let mut os_type = Element::new("type").with("arch", "x86_64").text("hvm");
    let mut os = Element::new("os");
    if domain_type == DomainType::Test {
        os_type.attributes.clear();
    } else {
        os_type.set("machine", "q35");
        if spec.firmware == Firmware::Uefi {
            os.set("firmware", "efi");
        }
    }
    let os = os.child(os_type);
    Ok(match &spec.boot {
        Some(boot) => os
            .child(Element::new("kernel").text(for_libvirt(&boot.kernel)?))
            .child(Element::new("initrd").text(for_libvirt(&boot.initrd)?))
            .child(Element::new("cmdline").text(boot.cmdline.as_str())),
        None => os.child(Element::new("boot").with("dev", "hd")),
    })
}

fn devices(spec: &DomainSpec) -> Result<Element> {
    let of_type = |name: &str, kind: &str| Element::new(name).with("type", kind);
    let extra = Element::parse_all(&spec.extra_xml).map_err(|cause| {
        Error::failed(format!("`extra_xml` of the machine `{}` is malformed", spec.name))
            .cause(cause)
            .hint("it holds devices as libvirt's domain XML writes them, such as `<sound model='ich9'/>`")
    })?;
    let disk = of_type("disk", "file")
        .with("device", "disk")
        .child(Element::new("driver").with("name", "qemu").with("type", "qcow2").with("discard", "unmap"))
        .child(Element::new("source").with("file", for_libvirt(&spec.disk)?))
        .child(Element::new("target").with("dev", "vda").with("bus", "virtio"));
    let port =
        |name: &str| of_type("channel", "unix").child(Element::new("target").with("type", "virtio").with("name", name));
    let random = Element::new("backend").with("model", "random").text("/dev/urandom");
    // QEMU would have an event descriptor for each queue of all 31 ports, and every start would wait for them.
    let is_serial = |device: &Element| device.name == "controller" && device.get("type") == Some("virtio-serial");
    let ports = of_type("controller", "virtio-serial").with("index", "0").with("ports", "8");
    let ports = (!extra.iter().any(is_serial)).then_some(ports);
    let fixed = [
        of_type("serial", "pty"),
        of_type("console", "pty"),
        port(AGENT),
        port(PORT),
        Element::new("rng").with("model", "virtio").child(random),
        Element::new("memballoon").with("model", "none"),
    ];
    Ok(Element::new("devices").child(disk).children(interface(spec)).children(ports).children(fixed).children(extra))
}

fn interface(spec: &DomainSpec) -> Option<Element> {
    let (kind, source) = match &spec.network {
        Network::None => return None,
        Network::User => ("user", None),
        Network::Network(name) => ("network", Some(("network", name))),
        Network::Bridge(name) => ("bridge", Some(("bridge", name))),
    };
    Some(
        Element::new("interface")
            .with("type", kind)
            .child(Element::new("mac").with("address", mac_address(&spec.uuid)))
            .children(source.map(|(key, name)| Element::new("source").with(key, name.as_str())))
            .child(Element::new("model").with("type", "virtio")),
    )
}

/// Derives the card's address from the domain's uuid, so that redefining a machine keeps it.
fn mac_address(uuid: &str) -> String {
    let digest = blake3::hash(uuid.as_bytes());
    let bytes = digest.as_bytes();
    format!("52:54:00:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2])
}

/// Tells a guest that it is another one than before, if its domain has a device for that.
pub fn set_generation_id(domain: &mut Element, id: &str) {
    if let Some(generation) = domain.find_mut("genid") {
        generation.text = id.to_string();
    }
}

/// Builds the `<domain>` that gives a domain, whose present description is `current`, the state of `document` and these
/// files.
pub fn build_redefinition(document: &Document, current: &Element, disks: &DiskChanges) -> Result<Element> {
    let mut domain = described(document, &["inactiveDomain", "domain"])?;
    if domain.get("id").is_some() {
        // Elsewhere a socket or a name of a card is the user's choice.
        clean(&mut domain);
    }
    let own = |name: &str| current.text_of(name).unwrap_or_default();
    identify(&mut domain, own("name"), own("uuid"));
    // They describe the domain to people and to other tools, and are no part of its earlier state.
    let labels = ["title", "description", "metadata"];
    domain.remove(&labels);
    let after_names = domain.children.iter().position(|child| child.name == "uuid").map_or(0, |uuid| uuid + 1);
    let labels: Vec<Element> = labels.iter().filter_map(|label| current.find(label)).cloned().collect();
    domain.children.splice(after_names..after_names, labels);
    disk_xml::change_disks(&mut domain, disks, current)?;
    Ok(domain)
}

/// Reads a document. A snapshot's is the domain as it was when the snapshot was taken.
pub fn parse(document: &Document) -> Result<Element> {
    described(document, &["domain"])
}

/// Reads a document, taking the first of `names` that a snapshot has.
fn described(document: &Document, names: &[&str]) -> Result<Element> {
    let mut element =
        Element::parse(&document.0).map_err(|cause| Error::failed("cannot read a domain's document").cause(cause))?;
    if element.name == "domainsnapshot" {
        let position = names.iter().find_map(|name| element.children.iter().position(|child| child.name == *name));
        let Some(position) = position else {
            let snapshot = element.text_of("name").unwrap_or_default();
            return Err(Error::failed(format!("the snapshot `{snapshot}` does not hold its domain's description"))
                .hint("a libvirt before 0.9.5 took it; nothing but `virsh snapshot-revert` can use it"));
        };
        element = element.children.swap_remove(position);
        element.name = "domain".to_string();
    }
    match element.name.as_str() {
        "domain" => Ok(element),
        other => Err(Error::bug(format!("a domain's document is a `<{other}>`"))),
    }
}

/// Gives the domain its name and uuid.
pub fn identify(domain: &mut Element, name: &str, uuid: &str) {
    domain.put(Element::new("name").text(name));
    domain.put(Element::new("uuid").text(uuid));
}

/// Removes what belongs to one run of one domain on one host.
pub fn clean(domain: &mut Element) {
    let is_running = domain.get("id").is_some();
    domain.attributes.retain(|(key, _)| key != "id");
    if is_running && let Some(resource) = domain.find_mut("resource") {
        // Where libvirt puts domains that name none.
        resource.children.retain(|part| part.name != "partition" || part.text.trim() != "/machine");
        if resource.children.is_empty() {
            domain.remove(&["resource"]);
        }
    }
    live_xml::forget(domain);
    domain.children.retain(|child| child.name != "seclabel" || child.get("type") != Some("dynamic"));
    for device in devices_mut(domain) {
        // Names with this prefix are the user's own choice.
        device
            .children
            .retain(|child| child.name != "alias" || child.get("name").is_some_and(|name| name.starts_with("ua-")));
        if device.get("type") == Some("pty") {
            device.attributes.retain(|(key, _)| key != "tty");
            device.remove(&["source"]);
        }
        match device.name.as_str() {
            "disk" => device.remove(&["backingStore", "mirror"]),
            "interface" => {
                let is_libvirts = |name: &str| ["vnet", "macvtap", "macvlan"].iter().any(|it| name.starts_with(it));
                if device.find("target").and_then(|target| target.get("dev")).is_some_and(is_libvirts) {
                    device.remove(&["target"]);
                }
                if let Some(source) = device.find_mut("source") {
                    source.attributes.retain(|(key, _)| !matches!(key.as_str(), "portid"));
                }
            }
            "channel" => {
                if is_running && device.find("source").is_some_and(is_of_one_run) {
                    device.remove(&["source"]);
                }
                if let Some(target) = device.find_mut("target") {
                    target.attributes.retain(|(key, _)| key != "state");
                }
            }
            "graphics" if device.get("autoport") == Some("yes") => {
                device.attributes.retain(|(key, _)| !matches!(key.as_str(), "port" | "tlsPort"));
            }
            _ => {}
        }
    }
}

/// Says whether a socket is where libvirt puts those of a run, in a directory named by the run's number and the domain,
/// or where [`place_ports`] puts them. Any other place is the user's choice.
fn is_of_one_run(source: &Element) -> bool {
    let Some(path) = source.get("path") else { return true };
    let directory = Path::new(path).parent().and_then(|directory| directory.file_name()?.to_str()).unwrap_or_default();
    let is_numbered = |name: &str| {
        let name = name.strip_prefix("domain-").unwrap_or(name);
        name.split_once('-').is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    source.get("mode") == Some("bind") && (is_numbered(directory) || directory == embed::SOCKETS)
}

/// Gives each port through which the host talks to the guest a socket whose path is shorter than libvirt's own choice.
pub fn place_ports(domain: &mut Element, socket: impl Fn(usize) -> PathBuf) -> Result<()> {
    let is_ours = |device: &Element| device.name == "channel" && [AGENT, PORT].iter().any(|name| is_port(device, name));
    for (number, channel) in devices_mut(domain).filter(|device| is_ours(device)).enumerate() {
        let path = socket(number);
        let length = path.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(Error::failed(format!("the path of a socket would be too long: `{}`", path.display()))
                .cause(format!("it has {length} bytes, and {LONGEST_SOCKET} is the limit"))
                .hint("a shorter name of the machine or a shorter SNAPTREE_STORE helps"));
        }
        channel.put(Element::new("source").with("mode", "bind").with("path", for_libvirt(&path)?));
    }
    Ok(())
}

/// Makes the domain run under another accelerator than the one it was made for.
pub fn adapt(domain: &mut Element, domain_type: DomainType) {
    domain.set("type", domain_type.word());
    let mode = domain.find("cpu").and_then(|cpu| cpu.get("mode")).map(str::to_string);
    let of_host = |mode: &str| matches!(mode, "host-passthrough" | "host-model" | "maximum");
    match (mode, domain_type.best_cpu()) {
        (Some(mode), Some(best)) if of_host(&mode) && best.get("mode") != Some(&mode) => domain.put(best),
        _ => {}
    }
}

#[cfg(test)]
pub mod tests;
