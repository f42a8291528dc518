//! What a domain's XML says about a guest whose RAM is in a file, and what such a guest's state fits.

use std::path::Path;

use serde_json::json;

use crate::hypervisor::{Fingerprint, Ram};
use crate::libvirt::xml::domain_facts::{self, devices};
use crate::libvirt::xml::element::Element;

const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
const COMMAND_LINE: &str = "qemu:commandline";
/// The name of the object that is the RAM, which is in the guest's state too.
const OBJECT: &str = "snaptree.ram";

/// Puts a domain's RAM elsewhere and, if it `waits`, makes it wait for a state to resume from.
pub fn place(domain: &mut Element, ram: &Ram, waits: bool) {
    let size = domain_facts::memory(domain);
    let in_file = |file: &Path, is_shared: bool| {
        let mut object = json!({
            "qom-type": "memory-backend-file",
            "id": OBJECT,
            "size": size,
            "mem-path": file,
            "share": is_shared,
        });
        if !is_shared {
            object["readonly"] = json!(true);
            object["rom"] = json!("off");
        }
        object
    };
    let object = match ram {
        Ram::Default => return,
        Ram::Anonymous => json!({ "qom-type": "memory-backend-ram", "id": OBJECT, "size": size }),
        Ram::Shared(file) => in_file(file, true),
        Ram::Private(file) => in_file(file, false),
    };
    let (object, machine) = (object.to_string(), format!("memory-backend={OBJECT}"));
    let mut arguments = vec!["-object", &object, "-machine", &machine];
    if waits {
        arguments.extend(WAITING);
    }
    let arguments = arguments.into_iter().map(|value| Element::new("qemu:arg").with("value", value));
    match domain.find_mut(COMMAND_LINE) {
        Some(line) => line.children.extend(arguments),
        None => {
            domain.set("xmlns:qemu", NAMESPACE);
            domain.children.push(Element::new(COMMAND_LINE).children(arguments));
        }
    }
}

/// Keeps libvirt from asking QEMU for each of the processor's hundreds of features, one after the other, which is half
/// of the time that a start takes; libvirt then asks two questions instead, as it does with older versions of QEMU.
pub fn ask_less(domain: &mut Element) {
    const CAPABILITIES: &str = "qemu:capabilities";
    if domain.find(CAPABILITIES).is_none() {
        domain.set("xmlns:qemu", NAMESPACE);
        let less = Element::new("qemu:del").with("capability", "cpu-unavailable-features");
        domain.children.push(Element::new(CAPABILITIES).children([less]));
    }
}

const WAITING: [&str; 2] = ["-incoming", "defer"];

/// Reverses [`place`], and leaves the user's own arguments alone. Says whether there was anything to reverse.
pub fn forget(domain: &mut Element) -> bool {
    let Some(line) = domain.find_mut(COMMAND_LINE) else { return false };
    let before = line.children.len();
    let value = |argument: Option<&Element>| argument.and_then(|it| it.get("value")).unwrap_or_default().to_string();
    let mut kept = Vec::new();
    let mut arguments = std::mem::take(&mut line.children).into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let (option, next) = (value(Some(&argument)), value(arguments.peek()));
        let is_ours = match option.as_str() {
            "-object" => next.contains(&format!("\"id\":\"{OBJECT}\"")),
            "-machine" => next == format!("memory-backend={OBJECT}"),
            option => [option, next.as_str()] == WAITING,
        };
        if is_ours {
            arguments.next();
        } else {
            kept.push(argument);
        }
    }
    let is_changed = kept.len() != before;
    line.children = kept;
    if line.children.is_empty() {
        domain.remove(&[COMMAND_LINE]);
        domain.attributes.retain(|(key, _)| key != "xmlns:qemu");
    }
    is_changed
}

/// Says why a domain's guest cannot be stopped and resumed elsewhere.
pub fn obstacle_to_save(domain: &Element) -> Option<&'static str> {
    let has = |name: &str| devices(domain).any(|device| device.name == name);
    if has("hostdev") {
        return Some("it has a device of the host");
    }
    if has("filesystem") {
        return Some("it mounts a directory of the host");
    }
    if has("shmem") {
        return Some("it shares memory with other domains");
    }
    let is_met = |card: &Element| card.name == "interface" && card.get("type") != Some("user");
    devices(domain).any(is_met).then_some("its network card would meet another one with its address")
}

/// Says why a domain cannot have its RAM in a file of ours.
pub fn obstacle_to_map(domain: &Element) -> Option<&'static str> {
    let cpu_has = |name: &str| domain.find("cpu").is_some_and(|cpu| cpu.find(name).is_some());
    if cpu_has("numa") {
        Some("its RAM is divided among NUMA cells")
    } else if domain.find("maxMemory").is_some() || devices(domain).any(|device| device.name == "memory") {
        Some("its RAM can grow while it runs")
    } else if domain.find("memoryBacking").is_some_and(|backing| backing.find("hugepages").is_some()) {
        Some("its RAM is in huge pages")
    } else if domain.find("launchSecurity").is_some() {
        Some("its RAM is encrypted")
    } else if devices(domain).any(|device| device.name == "pstore") {
        Some("its pstore is in a file of its own")
    } else {
        None
    }
}

/// Says what the state of a guest in this domain fits, apart from the QEMU that runs it.
pub fn fingerprint(domain: &Element) -> Fingerprint {
    let os_type = domain.find("os").and_then(|os| os.find("type"));
    let cpu = domain.find("cpu").map(|cpu| match (cpu.get("mode"), cpu.text_of("model")) {
        (_, Some(model)) => model.to_string(),
        (mode, None) => mode.unwrap_or_default().to_string(),
    });
    let facts = [
        ("accelerator", domain.get("type").unwrap_or_default().to_string()),
        ("machine", os_type.and_then(|kind| kind.get("machine")).unwrap_or_default().to_string()),
        ("processor", cpu.unwrap_or_else(|| "default".to_string())),
        ("processors", domain_facts::cpus(domain).to_string()),
        ("memory", domain_facts::memory(domain).to_string()),
        ("devices", device_digest(domain)),
    ];
    facts.map(|(name, value)| (name.to_string(), value)).into()
}

/// A digest of the devices as the guest sees them: what they are and where they are plugged in.
fn device_digest(domain: &Element) -> String {
    const SHOWN: usize = 12;
    /// The parts of a device that are its host side.
    const OF_THE_HOST: [&str; 8] =
        ["source", "backingStore", "mirror", "alias", "backend", "seclabel", "protocol", "listen"];
    let mut list = Vec::new();
    for mut device in devices(domain).filter(|device| device.name != "emulator").cloned() {
        device.remove(&OF_THE_HOST);
        if device.name == "graphics" {
            continue;
        }
        if let Some(driver) = device.find_mut("driver") {
            driver.attributes.clear();
        }
        if device.name == "interface" {
            device.attributes.clear();
            device.remove(&["target"]);
        }
        list.push(device.to_string());
    }
    let digest = blake3::hash(list.concat().as_bytes()).to_hex();
    digest[..SHOWN].to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain() -> Element {
        Element::parse(
            "<domain type='qemu'><memory unit='KiB'>1024</memory><vcpu>2</vcpu>
               <os><type machine='pc-q35-10.0'>hvm</type></os><cpu mode='maximum'/>
               <devices><emulator>/usr/bin/qemu</emulator>
                 <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a'/>
                   <target dev='vda' bus='virtio'/></disk>
                 <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
               </devices></domain>",
        )
        .unwrap()
    }

    fn arguments(domain: &Element) -> Vec<String> {
        let line = domain.find(COMMAND_LINE).into_iter().flat_map(|line| &line.children);
        line.filter_map(|argument| argument.get("value")).map(str::to_string).collect()
    }

    #[test]
    fn the_ram_is_placed_and_forgotten_beside_the_users_own_arguments() {
        let own = "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='edu'/></qemu:commandline>";
        for user in [None, Some(own)] {
            let mut placed = domain();
            placed.children.extend(user.map(|user| Element::parse(user).unwrap()));
            let before = placed.clone();
            let file = || "/vm/a.ram".into();
            for ram in [Ram::Anonymous, Ram::Shared(file()), Ram::Private(file())] {
                place(&mut placed, &ram, true);
                assert_ne!(placed, before);
                forget(&mut placed);
                assert_eq!(placed, before);
            }
            place(&mut placed, &Ram::Default, true);
            assert_eq!(placed, before);
        }
    }

    #[test]
    fn what_keeps_ram_from_being_kept_is_named() {
        let with =
            |device: &str| Element::parse(&domain().to_string().replace("</devices>", &format!("{device}</devices>")));
        let obstacle = |device: &str| obstacle_to_save(&with(device).unwrap());
        assert_eq!(obstacle(""), None);
        assert_eq!(obstacle("<hostdev mode='subsystem'/>"), Some("it has a device of the host"));
        assert_eq!(obstacle("<filesystem type='mount'/>"), Some("it mounts a directory of the host"));
        let card = "<interface type='bridge'><source bridge='br0'/></interface>";
        assert_eq!(obstacle(card), Some("its network card would meet another one with its address"));
        assert_eq!(obstacle("<shmem name='s'/>"), Some("it shares memory with other domains"));
        assert_eq!(obstacle_to_map(&domain()), None);
        let pstore = with("<pstore backend='acpi-erst'/>").unwrap();
        assert_eq!(obstacle_to_map(&pstore), Some("its pstore is in a file of its own"));
        assert_eq!(obstacle_to_map(&with("<memory model='dimm'/>").unwrap()), Some("its RAM can grow while it runs"));
    }

    #[test]
    fn a_file_that_stays_as_it_is_is_opened_for_reading() {
        let mut placed = domain();
        place(&mut placed, &Ram::Private("/vm/a,b.ram".into()), true);
        let object = r#"{"id":"snaptree.ram","mem-path":"/vm/a,b.ram","qom-type":"memory-backend-file","readonly":true,"rom":"off","share":false,"size":1048576}"#;
        let expected = ["-object", object, "-machine", "memory-backend=snaptree.ram", "-incoming", "defer"];
        assert_eq!(arguments(&placed), expected);
    }

    #[test]
    fn a_state_fits_what_differs_on_the_hosts_side_only() {
        let changed =
            |from: &str, to: &str| fingerprint(&Element::parse(&domain().to_string().replace(from, to)).unwrap());
        let before = fingerprint(&domain());
        assert_eq!(changed("/a", "/b"), before);
        assert_eq!(changed("type='user'", "type='network'"), before);
        for (name, from, to) in [
            ("devices", "vda", "vdb"),
            ("devices", "00:01", "00:02"),
            ("machine", "10.0", "9.0"),
            ("memory", "1024", "2048"),
            ("processors", ">2<", ">1<"),
            ("processor", "maximum", "host-passthrough"),
            ("accelerator", "type='qemu'", "type='kvm'"),
        ] {
            let now = changed(from, to);
            let differing: Vec<&String> = before.keys().filter(|key| before[*key] != now[*key]).collect();
            assert_eq!(differing, [name]);
        }
    }
}
