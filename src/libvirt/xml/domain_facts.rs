//! What a domain's XML says about the domain.

use std::path::PathBuf;

use crate::hypervisor::{Disk, Source};
use crate::libvirt::xml::element::Element;

/// Returns the RAM in bytes.
pub fn memory(domain: &Element) -> u64 {
    let Some(memory) = domain.find("memory") else { return 0 };
    // libvirt writes no other unit, whichever it was given.
    memory.text.trim().parse::<u64>().unwrap_or_default() * 1024
}

/// Returns the number of processors that the domain starts with.
pub fn cpus(domain: &Element) -> u32 {
    let Some(cpus) = domain.find("vcpu") else { return 1 };
    cpus.get("current").unwrap_or(&cpus.text).trim().parse().unwrap_or(1)
}

/// Returns a disk's name in the guest.
pub fn target(disk: &Element) -> Option<&str> {
    disk.find("target")?.get("dev")
}

/// Lists the disks.
pub fn disks(domain: &Element) -> Vec<Disk> {
    let describe = |disk: &Element| {
        let driver = disk.find("driver");
        Some(Disk {
            target: target(disk)?.to_string(),
            device: disk.get("device").unwrap_or("disk").to_string(),
            source: source(disk),
            format: driver.and_then(|driver| driver.get("type")).unwrap_or("raw").to_string(),
            is_read_only: disk.find("readonly").is_some(),
            is_shareable: disk.find("shareable").is_some(),
            is_transient: disk.find("transient").is_some(),
            obstacle: obstacle(disk),
            has_block_job: disk.find("mirror").is_some(),
            is_optional: disk.find("source").is_some_and(|source| source.get("startupPolicy").is_some()),
            snapshot: disk.get("snapshot").map(str::to_string),
        })
    };
    disk_elements(domain).filter_map(describe).collect()
}

pub fn disk_elements(domain: &Element) -> impl Iterator<Item = &Element> {
    devices(domain).filter(|device| device.name == "disk")
}

/// Says why an overlay cannot take the disk's place.
fn obstacle(disk: &Element) -> Option<String> {
    let source = disk.find("source");
    let of_source = |name: &str| source.and_then(|source| source.find(name));
    if let Some(encryption) = of_source("encryption").or_else(|| disk.find("encryption")) {
        let how = encryption.get("format").unwrap_or("default");
        return Some(format!("it is encrypted ({how}), and its overlay would not be"));
    }
    of_source("slices").map(|_| "it is a slice of its file, which an overlay would show whole".to_string())
}

fn source(disk: &Element) -> Source {
    let Some(source) = disk.find("source") else { return Source::None };
    let get = |key: &str| source.get(key).unwrap_or_default().to_string();
    match disk.get("type").unwrap_or("file") {
        "file" => source.get("file").map_or(Source::None, |file| Source::File(file.into())),
        "block" => source.get("dev").map_or(Source::None, |device| Source::Block(device.into())),
        "volume" => Source::Volume { pool: get("pool"), volume: get("volume") },
        "network" => Source::Network(get("protocol")),
        other => Source::Other(other.to_string()),
    }
}

/// Lists the drivers of host directories that the guest mounts.
pub fn filesystems(domain: &Element) -> Vec<String> {
    let driver = |filesystem: &Element| match filesystem.find("driver").and_then(|driver| driver.get("type")) {
        // libvirt's names for how QEMU itself serves it.
        None | Some("path" | "handle") => "9p".to_string(),
        Some(other) => other.to_string(),
    };
    devices(domain).filter(|device| device.name == "filesystem").map(driver).collect()
}

/// Returns the guest's device for the first console, which libvirt opens if none is named.
pub fn console_device(domain: &Element) -> Option<String> {
    let console = devices(domain).find(|device| device.name == "console");
    let Some(console) = console else {
        return devices(domain).any(|device| device.name == "serial").then(|| "/dev/ttyS0".to_string());
    };
    let target = console.find("target");
    let port = target.and_then(|target| target.get("port")).unwrap_or("0");
    match target.and_then(|target| target.get("type")).unwrap_or("serial") {
        "serial" => Some(format!("/dev/ttyS{port}")),
        "virtio" => Some(format!("/dev/hvc{port}")),
        _ => None,
    }
}

/// The host's end of a port.
pub struct HostPort {
    /// QEMU's name for its character device.
    pub device: String,
    /// The socket that it listens on.
    pub socket: PathBuf,
}

/// Returns the host's end of a port, given the guest's name for the port, while the domain runs.
pub fn port(domain: &Element, name: &str) -> Option<HostPort> {
    let port = devices(domain).find(|device| device.name == "channel" && is_port(device, name))?;
    let device = format!("char{}", port.find("alias")?.get("name")?);
    Some(HostPort { device, socket: port.find("source")?.get("path")?.into() })
}

/// Says whether a channel is the port of this name.
pub fn is_port(channel: &Element, name: &str) -> bool {
    channel.find("target").is_some_and(|target| target.get("name") == Some(name))
}

/// Says whether the guest has devices of the host.
pub fn has_host_devices(domain: &Element) -> bool {
    devices(domain)
        .any(|device| device.name == "hostdev" || device.name == "interface" && device.get("type") == Some("hostdev"))
}

/// Returns the format of the file with the firmware's variables.
pub fn nvram(domain: &Element) -> Option<String> {
    let os = domain.find("os")?;
    let (loader, nvram) = (os.find("loader"), os.find("nvram"));
    let is_uefi = os.get("firmware") == Some("efi")
        || nvram.is_some()
        || loader.is_some_and(|loader| loader.get("type") == Some("pflash"));
    let is_stateless = loader.is_some_and(|loader| loader.get("stateless") == Some("yes"));
    let format = nvram.or(loader).and_then(|element| element.get("format")).unwrap_or("raw");
    (is_uefi && !is_stateless).then(|| format.to_string())
}

pub fn devices(domain: &Element) -> impl Iterator<Item = &Element> {
    domain.find("devices").into_iter().flat_map(|devices| &devices.children)
}

pub fn devices_mut(domain: &mut Element) -> impl Iterator<Item = &mut Element> {
    domain.find_mut("devices").into_iter().flat_map(|devices| devices.children.iter_mut())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain(content: &str) -> Element {
        Element::parse(&format!("<domain>{content}</domain>")).unwrap()
    }

    #[test]
    fn memory_and_processors_are_what_the_domain_starts_with() {
        let domain = domain("<memory unit='KiB'>65536</memory><vcpu placement='static' current='2'>4</vcpu>");
        assert_eq!((memory(&domain), cpus(&domain)), (64 << 20, 2));
        assert_eq!(cpus(&self::domain("<vcpu>3</vcpu>")), 3);
        assert_eq!(cpus(&self::domain("")), 1);
    }

    #[test]
    fn every_disk_is_listed_with_where_its_content_is() {
        let domain = domain(
            "<devices>
               <disk type='file' device='disk'><driver type='qcow2'/><source file='/a'/><target dev='vda'/></disk>
               <disk type='block' snapshot='no'><source dev='/dev/b'/><target dev='vdb'/></disk>
               <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
               <disk type='volume' device='lun'><source pool='p' volume='v'/><target dev='vdc'/></disk>
               <disk type='network'><source protocol='nbd' name='n'/><target dev='vdd'/></disk>
               <disk type='nvme'><source/><target dev='vde'/></disk>
               <disk type='file'><source file='/no-target'/></disk>
             </devices>",
        );
        let disk = |target: &str, device: &str, source, format: &str, is_read_only, snapshot: Option<&str>| Disk {
            target: target.to_string(),
            device: device.to_string(),
            source,
            format: format.to_string(),
            is_read_only,
            snapshot: snapshot.map(str::to_string),
            ..Disk::default()
        };
        let expected = [
            disk("vda", "disk", Source::File("/a".into()), "qcow2", false, None),
            disk("vdb", "disk", Source::Block("/dev/b".into()), "raw", false, Some("no")),
            disk("sda", "cdrom", Source::None, "raw", true, None),
            disk("vdc", "lun", Source::Volume { pool: "p".into(), volume: "v".into() }, "raw", false, None),
            disk("vdd", "disk", Source::Network("nbd".into()), "raw", false, None),
            disk("vde", "disk", Source::Other("nvme".into()), "raw", false, None),
        ];
        assert_eq!(disks(&domain), expected);
    }

    #[test]
    fn what_keeps_a_disk_from_having_an_overlay_is_told() {
        let only = |content: &str| {
            let content = format!("<target dev='vda'/><source file='/a'/>{content}");
            disks(&domain(&format!("<devices><disk type='file'>{content}</disk></devices>"))).remove(0)
        };
        assert_eq!(only(""), Disk { obstacle: None, ..only("") });
        assert!(only("<shareable/>").is_shareable && only("<transient/>").is_transient);
        assert!(only("<mirror type='file' job='copy'/>").has_block_job);
        let inside = |content: &str| {
            let content = format!("<target dev='vda'/><source file='/a'>{content}</source>");
            disks(&domain(&format!("<devices><disk type='file'>{content}</disk></devices>"))).remove(0).obstacle
        };
        let luks = "it is encrypted (luks), and its overlay would not be";
        assert_eq!(inside("<encryption format='luks'/>").as_deref(), Some(luks));
        assert_eq!(only("<encryption format='luks'/>").obstacle.as_deref(), Some(luks));
        let slice = inside("<slices><slice type='storage' offset='512' size='512'/></slices>");
        assert_eq!(slice.as_deref(), Some("it is a slice of its file, which an overlay would show whole"));
    }

    #[test]
    fn file_systems_and_devices_of_the_host_are_seen() {
        let shared = domain(
            "<devices><filesystem type='mount'/><filesystem><driver type='path' wrpolicy='immediate'/></filesystem>
             <filesystem><driver type='virtiofs'/></filesystem></devices>",
        );
        assert_eq!(filesystems(&shared), ["9p", "9p", "virtiofs"]);
        assert!(!has_host_devices(&shared));
        assert!(has_host_devices(&domain("<devices><hostdev mode='subsystem'/></devices>")));
        assert!(has_host_devices(&domain("<devices><interface type='hostdev'/></devices>")));
        assert!(!has_host_devices(&domain("<devices><interface type='user'/></devices>")));
    }

    #[test]
    fn the_firmwares_variables_have_a_format_when_there_are_any() {
        let nvram = |os: &str| nvram(&domain(os));
        assert_eq!(nvram("<os><type>hvm</type></os>"), None);
        assert_eq!(nvram("<os><loader type='rom'>/bios</loader></os>"), None);
        assert_eq!(nvram("<os firmware='efi'/>").as_deref(), Some("raw"));
        assert_eq!(nvram("<os><loader type='pflash' format='qcow2'>/l</loader></os>").as_deref(), Some("qcow2"));
        let both = "<os><loader type='pflash'>/l</loader><nvram format='qcow2'>/v</nvram></os>";
        assert_eq!(nvram(both).as_deref(), Some("qcow2"));
        assert_eq!(nvram("<os firmware='efi'><loader stateless='yes'>/l</loader></os>"), None);
    }
}
