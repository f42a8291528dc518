//! The rules for devices in a clone.

use crate::libvirt::clone::rule::Place::Devices;
use crate::libvirt::clone::rule::Treatment::{Kept, LeftOut, Refused, Replaced};
use crate::libvirt::clone::rule::{Identity, Rule, Verdict, goes, keep};
use crate::libvirt::xml::element::Element;

/// Devices whose host side is a character device that the guest does not see.
const PORTS: &[&str] = &["serial", "parallel", "console", "channel", "redirdev", "smartcard"];
/// Kinds of character devices that are something of the host's, which only one domain can have.
const OF_THE_HOST: [&str; 7] = ["tcp", "udp", "unix", "file", "pipe", "dev", "nmdm"];

pub const RULES: &[Rule] = &[
    Rule {
        what: "`<disk>` that the snapshot holds",
        treatment: Replaced,
        place: Devices(&["disk"]),
        // The tree has overlays for these, which replace what is here.
        apply: keep,
    },
    Rule {
        what: "`<disk type='nvme'>`, `'vhostuser'`, `'vhostvdpa'`",
        treatment: Refused,
        place: Devices(&["disk"]),
        apply: |disk, _| match disk.get("type") {
            Some(kind @ ("nvme" | "vhostuser" | "vhostvdpa")) => {
                let target = disk.find("target").and_then(|target| target.get("dev")).unwrap_or_default();
                Verdict::Refused(format!("its disk `{target}` is a device of the host (`{kind}`)"))
            }
            _ => Verdict::Stays,
        },
    },
    Rule {
        what: "`<disk device='floppy'>` that is not read-only: its medium",
        treatment: LeftOut,
        place: Devices(&["disk"]),
        apply: |disk, _| {
            if disk.get("device") == Some("floppy") && disk.find("readonly").is_none() {
                disk.remove(&["source", "backingStore"]);
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "other `<disk>`: read-only ones, CDs, empty drives",
        treatment: Kept,
        place: Devices(&["disk"]),
        apply: keep,
    },
    Rule { what: "`<lease>`", treatment: LeftOut, place: Devices(&["lease"]), apply: goes },
    Rule {
        what: "`<filesystem>` with a `socket`",
        treatment: Refused,
        place: Devices(&["filesystem"]),
        apply: |filesystem, _| match filesystem.find("source").and_then(|source| source.get("socket")) {
            Some(socket) => Verdict::Refused(format!("it mounts a directory through the socket `{socket}`")),
            None => Verdict::Stays,
        },
    },
    Rule { what: "`<filesystem>` of a directory", treatment: Kept, place: Devices(&["filesystem"]), apply: keep },
    Rule { what: "`<hostdev>`", treatment: Refused, place: Devices(&["hostdev"]), apply: host_device },
    Rule {
        what: "`<interface>` of the types `hostdev`, `vdpa`, `vhostuser`, `server`, `client`, `udp`",
        treatment: Refused,
        place: Devices(&["interface"]),
        apply: exclusive_card,
    },
    Rule {
        what: "`<interface>` with `<source mode='passthrough'>`, `<target managed='no'>` or `<virtualport type='midonet'>`",
        treatment: Refused,
        place: Devices(&["interface"]),
        apply: exclusive_link,
    },
    Rule {
        what: "`<interface type='user'>`: `logFile`, `<portForward>`",
        treatment: LeftOut,
        place: Devices(&["interface"]),
        apply: |card, _| {
            card.remove(&["portForward"]);
            if let Some(backend) = card.find_mut("backend") {
                backend.attributes.retain(|(key, _)| key != "logFile");
                if backend.attributes.is_empty() {
                    card.remove(&["backend"]);
                }
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "other `<interface>`: `<mac>`, the name of its `<target>`, `interfaceid`, `instanceid`",
        treatment: Replaced,
        place: Devices(&["interface"]),
        apply: card_on_a_network,
    },
    Rule {
        what: "`<serial>`, `<parallel>`, `<console>`, `<channel>`, `<redirdev>`, `<smartcard>`: `<log>`",
        treatment: LeftOut,
        place: Devices(PORTS),
        apply: |port, _| {
            port.remove(&["log"]);
            Verdict::Stays
        },
    },
    Rule {
        what: "`<serial>`, `<parallel>`, `<console>` to a port, a socket, a file, a pipe or a device of the host",
        treatment: Replaced,
        place: Devices(&["serial", "parallel", "console"]),
        apply: |port, _| {
            if is_of_the_host(port) {
                reconnect(port, "pty");
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<channel>` to any of these",
        treatment: Replaced,
        place: Devices(&["channel"]),
        apply: |port, _| {
            if is_of_the_host(port) {
                let kind = port.find("target").and_then(|target| target.get("type"));
                // libvirt has a path for each such socket of each domain.
                reconnect(port, if kind == Some("guestfwd") { "pty" } else { "unix" });
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<redirdev>`, `<smartcard mode='passthrough'>` to any of these",
        treatment: LeftOut,
        place: Devices(&["redirdev", "smartcard"]),
        apply: |port, _| {
            if is_of_the_host(port) {
                reconnect(port, "null");
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<smartcard mode='host'>`",
        treatment: Refused,
        place: Devices(&["smartcard"]),
        apply: |card, _| match card.get("mode") {
            Some("host") => Verdict::Refused("it has the smart card reader of the host".to_string()),
            _ => Verdict::Stays,
        },
    },
    Rule {
        what: "`<rng>` with an `egd` back end",
        treatment: Replaced,
        place: Devices(&["rng"]),
        apply: |rng, _| {
            if rng.find("backend").is_some_and(|backend| backend.get("model") == Some("egd")) {
                rng.put(Element::new("backend").with("model", "random").text("/dev/urandom"));
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<graphics>` of the types `vnc`, `spice`, `rdp`: ports and sockets",
        treatment: Replaced,
        place: Devices(&["graphics"]),
        apply: screen,
    },
    Rule {
        what: "`<graphics type='dbus'>`: its bus",
        treatment: Replaced,
        place: Devices(&["graphics"]),
        apply: |graphics, _| {
            if graphics.get("type") == Some("dbus") {
                graphics.attributes.retain(|(key, _)| key != "address");
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<audio>` to the host's sound system or a file",
        treatment: LeftOut,
        place: Devices(&["audio"]),
        apply: |audio, _| {
            if !matches!(audio.get("type"), Some("none" | "spice" | "dbus")) {
                audio.attributes.retain(|(key, _)| key == "id");
                audio.set("type", "none");
                audio.children.clear();
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<input type='passthrough'>`",
        treatment: Refused,
        place: Devices(&["input"]),
        apply: |input, _| match input.get("type") {
            Some("passthrough") => {
                let device = input.find("source").and_then(|source| source.get("evdev")).unwrap_or_default();
                Verdict::Refused(format!("it has the input device `{device}` of the host"))
            }
            _ => Verdict::Stays,
        },
    },
    Rule {
        what: "`<input type='evdev'>`",
        treatment: LeftOut,
        place: Devices(&["input"]),
        apply: |input, _| if input.get("type") == Some("evdev") { Verdict::Goes } else { Verdict::Stays },
    },
    Rule {
        what: "`<vsock>`: its `cid`",
        treatment: Replaced,
        place: Devices(&["vsock"]),
        apply: |vsock, _| {
            vsock.put(Element::new("cid").with("auto", "yes"));
            Verdict::Stays
        },
    },
    Rule {
        what: "`<tpm>` with an `emulator` back end: its state",
        treatment: Replaced,
        place: Devices(&["tpm"]),
        apply: |tpm, _| {
            if let Some(backend) = tpm.find_mut("backend").filter(|backend| backend.get("type") == Some("emulator")) {
                // libvirt then keeps the state in a directory named by the domain's uuid, and removes it with the
                // domain.
                backend.attributes.retain(|(key, _)| key != "persistent_state");
                backend.remove(&["source"]);
            }
            Verdict::Stays
        },
    },
    Rule {
        what: "`<tpm>` with a `passthrough` or `external` back end",
        treatment: Refused,
        place: Devices(&["tpm"]),
        apply: |tpm, _| match tpm.find("backend").and_then(|backend| backend.get("type")) {
            Some("passthrough") => Verdict::Refused("it has the TPM of the host".to_string()),
            Some("external") => Verdict::Refused("its TPM is an external program".to_string()),
            _ => Verdict::Stays,
        },
    },
    Rule {
        what: "`<shmem>` with a `<server>`",
        treatment: Refused,
        place: Devices(&["shmem"]),
        apply: |shmem, _| match shmem.find("server") {
            Some(_) => {
                let name = shmem.get("name").unwrap_or_default();
                Verdict::Refused(format!("its shared memory `{name}` comes from a server"))
            }
            None => Verdict::Stays,
        },
    },
    Rule {
        what: "other `<shmem>`: its name",
        treatment: Replaced,
        place: Devices(&["shmem"]),
        apply: |shmem, identity| {
            let name = shared_memory(identity.name, shmem.get("name").unwrap_or_default());
            shmem.set("name", name);
            Verdict::Stays
        },
    },
    Rule {
        what: "`<memory model='nvdimm'>`, `'virtio-pmem'` that its guest writes to",
        treatment: Refused,
        place: Devices(&["memory"]),
        apply: persistent_memory,
    },
    Rule {
        what: "`<pstore>`: its file",
        treatment: Replaced,
        place: Devices(&["pstore"]),
        apply: |pstore, identity| {
            let file = identity.nvram.with_extension("pstore");
            pstore.put(Element::new("path").text(file.to_string_lossy()));
            Verdict::Stays
        },
    },
    Rule {
        what: "every other device",
        treatment: Kept,
        place: Devices(&["controller", "video", "sound", "watchdog", "memballoon", "panic", "hub", "iommu", "crypto"]),
        apply: keep,
    },
];

/// Names the shared memory of a clone. The name is known without its description, which is deleted with its domain.
fn shared_memory(clone: &str, original: &str) -> String {
    let short = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..8].to_string();
    format!("{}{}", shared_memory_prefix(clone), short(original))
}

/// Returns the common prefix of the names of a clone's shared memory.
pub fn shared_memory_prefix(clone: &str) -> String {
    format!("snaptree-{}-", &blake3::hash(clone.as_bytes()).to_hex()[..16])
}

fn is_of_the_host(port: &Element) -> bool {
    port.get("type").is_some_and(|kind| OF_THE_HOST.contains(&kind))
}

/// Gives a port another end on the host.
fn reconnect(port: &mut Element, kind: &str) {
    port.set("type", kind);
    port.remove(&["source", "protocol"]);
}

fn host_device(device: &mut Element, _: &Identity) -> Verdict {
    let source = device.find("source");
    let address = source.and_then(|source| source.find("address"));
    let of_address = |key: &str| address.and_then(|address| address.get(key)).unwrap_or_default();
    let hex = |key: &str| of_address(key).trim_start_matches("0x");
    let id = |name: &str| source.and_then(|source| source.find(name)?.get("id")).unwrap_or_default();
    let name = match device.get("type").unwrap_or_default() {
        "pci" => format!("PCI device `{}:{}:{}.{}`", hex("domain"), hex("bus"), hex("slot"), hex("function")),
        "usb" if address.is_some() => format!("USB device `{}:{}`", of_address("bus"), of_address("device")),
        "usb" => format!("USB device `{}:{}`", id("vendor"), id("product")),
        "mdev" => format!("mediated device `{}`", of_address("uuid")),
        kind => format!("device of the type `{kind}`"),
    };
    Verdict::Refused(format!("it has the host's {name}"))
}

fn exclusive_card(card: &mut Element, _: &Identity) -> Verdict {
    let is_passt = card.find("backend").is_some_and(|backend| backend.get("type") == Some("passt"));
    match card.get("type") {
        Some("vhostuser") if is_passt => Verdict::Stays,
        Some(kind @ ("hostdev" | "vdpa" | "vhostuser" | "server" | "client" | "udp")) => {
            Verdict::Refused(format!("its network card is of the type `{kind}`"))
        }
        _ => Verdict::Stays,
    }
}

fn exclusive_link(card: &mut Element, _: &Identity) -> Verdict {
    let get = |child: &str, key: &str| card.find(child).and_then(|child| child.get(key));
    let cause = if get("source", "mode") == Some("passthrough") {
        format!("its network card uses the host's `{}` exclusively", get("source", "dev").unwrap_or_default())
    } else if get("target", "managed") == Some("no") {
        format!("its network card uses the host's `{}`", get("target", "dev").unwrap_or_default())
    } else if get("virtualport", "type") == Some("midonet") {
        "its network card is attached to a port of MidoNet".to_string()
    } else {
        return Verdict::Stays;
    };
    Verdict::Refused(cause)
}

fn card_on_a_network(card: &mut Element, _: &Identity) -> Verdict {
    // Behind user networking the address is not visible, and a guest finds its card unchanged.
    if card.get("type") != Some("user") {
        card.remove(&["mac", "target"]);
    }
    if let Some(port) = card.find_mut("virtualport") {
        for parameters in &mut port.children {
            parameters.attributes.retain(|(key, _)| !matches!(key.as_str(), "interfaceid" | "instanceid"));
        }
    }
    Verdict::Stays
}

fn screen(graphics: &mut Element, _: &Identity) -> Verdict {
    if !matches!(graphics.get("type"), Some("vnc" | "spice" | "rdp")) {
        return Verdict::Stays;
    }
    if graphics.get("socket").is_some() {
        graphics.attributes.retain(|(key, _)| key != "socket");
        if graphics.find("listen").is_none() {
            graphics.children.insert(0, Element::new("listen").with("type", "socket"));
        }
    }
    for listen in graphics.children.iter_mut().filter(|child| child.name == "listen") {
        listen.attributes.retain(|(key, _)| key != "socket");
    }
    let needs_port = graphics.all("listen").all(|listen| !matches!(listen.get("type"), Some("socket" | "none")));
    // SPICE without a port accepts no clients, and that stays so.
    let has_port = ["port", "tlsPort", "autoport"].iter().any(|key| graphics.get(key).is_some_and(|it| it != "no"));
    if needs_port && (has_port || graphics.get("type") != Some("spice")) {
        graphics.attributes.retain(|(key, _)| !matches!(key.as_str(), "port" | "tlsPort"));
        graphics.set("autoport", "yes");
        if graphics.get("websocket").is_some() {
            graphics.set("websocket", "-1");
        }
    }
    Verdict::Stays
}

fn persistent_memory(memory: &mut Element, _: &Identity) -> Verdict {
    let is_read_only = memory.find("target").is_some_and(|target| target.find("readonly").is_some());
    let is_written = match memory.get("model") {
        Some("nvdimm") => !is_read_only && memory.get("access") != Some("private"),
        Some("virtio-pmem") => true,
        _ => false,
    };
    if !is_written {
        return Verdict::Stays;
    }
    let path = memory.find("source").and_then(|source| source.text_of("path")).unwrap_or_default();
    Verdict::Refused(format!("its guest writes to the memory device `{}`", path.trim()))
}
