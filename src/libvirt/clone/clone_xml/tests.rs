#![allow(clippy::unwrap_used)]

mod build;

use super::Treatment::{Kept, LeftOut, Refused, Replaced};
use super::*;

const UUID: &str = "11111111-2222-4333-8444-555555555555";

fn there(_: &Path) -> bool {
    true
}

fn gone(_: &Path) -> bool {
    false
}

fn identity(exists: fn(&Path) -> bool) -> Identity<'static> {
    Identity { name: "clone", uuid: UUID, nvram: Path::new("/s/clone.nvram"), exists }
}

/// Puts a sample into a domain: devices, or elements beside them.
fn domain(rule: &Rule, sample: &str) -> Element {
    let elements = Element::parse_all(sample).unwrap();
    let mut domain = Element::new("domain").child(Element::new("name").text("m")).child(Element::new("uuid").text("u"));
    match rule.place {
        Place::Devices(_) => domain.children.push(Element::new("devices").children(elements)),
        Place::Domain | Place::Top(_) => domain.children.extend(elements),
    }
    domain
}

/// What a clone of it has instead, by all rules together.
fn cloned(rule: &Rule, sample: &str) -> Result<String, String> {
    let mut domain = domain(rule, sample);
    apply(&mut domain, &identity(there))?;
    let elements = match rule.place {
        Place::Devices(_) => &domain.find("devices").unwrap().children,
        Place::Domain => &domain.children,
        Place::Top(_) => &domain.children[2..].to_vec(),
    };
    Ok(elements.iter().map(Element::to_string).collect())
}

fn printed(sample: &str) -> String {
    Element::parse_all(sample).unwrap().iter().map(Element::to_string).collect()
}

/// A row of the table, what a domain has, and what its clone has or why it cannot be cloned.
type Sample = (&'static str, &'static str, std::result::Result<&'static str, &'static str>);

/// The row changes nothing.
const SAME: std::result::Result<&str, &str> = Ok("=");

const SAMPLES: &[Sample] = &[
    (
        "`<name>`, `<uuid>`, `<genid>`, `<hwuuid>`",
        "<genid>g</genid><hwuuid>h</hwuuid>",
        Ok("<name>clone</name><uuid>11111111-2222-4333-8444-555555555555</uuid>
            <genid>11111111-2222-4333-8444-555555555555</genid>"),
    ),
    (
        "`<sysinfo type='smbios'>`: the system's `uuid`, each `serial`",
        "<sysinfo type='smbios'><system><entry name='product'>p</entry><entry name='serial'>12</entry>
           <entry name='uuid'>u</entry></system><baseBoard><entry name='serial'>34</entry></baseBoard>
           <chassis><entry name='serial'>ds=nocloud;s=http://h/</entry><entry name='asset'>a</entry></chassis>
           <oemStrings><entry>serial</entry></oemStrings></sysinfo>",
        Ok("<sysinfo type='smbios'><system><entry name='product'>p</entry>
           <entry name='serial'>11111111-2222-4333-8444-555555555555</entry>
           <entry name='uuid'>11111111-2222-4333-8444-555555555555</entry></system>
           <baseBoard><entry name='serial'>11111111-2222-4333-8444-555555555555</entry></baseBoard>
           <chassis><entry name='serial'>ds=nocloud;s=http://h/</entry><entry name='asset'>a</entry></chassis>
           <oemStrings><entry>serial</entry></oemStrings></sysinfo>"),
    ),
    (
        "`<sysinfo type='smbios'>`: the system's `uuid`, each `serial`",
        "<sysinfo type='fwcfg'><entry name='opt/x' file='/x'/></sysinfo>",
        SAME,
    ),
    (
        "`<metadata>` of other programs",
        "<metadata><cloud:instance xmlns:cloud='u' id='7'/></metadata>",
        Ok(""),
    ),
    (
        "`<on_poweroff>`, `<on_reboot>`, `<on_crash>`, `<on_lockfailure>`",
        "<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot><on_crash>coredump-destroy</on_crash>
         <on_lockfailure>pause</on_lockfailure><vcpu>1</vcpu>",
        Ok("<name>clone</name><uuid>11111111-2222-4333-8444-555555555555</uuid><vcpu>1</vcpu>"),
    ),
    ("`<resource>`", "<resource><partition>/machine/web</partition></resource>", Ok("")),
    (
        "`<cachetune>`, `<memorytune>`",
        "<cputune><shares>9</shares><cachetune vcpus='0'/><memorytune vcpus='0'/></cputune>",
        Ok("<cputune><shares>9</shares></cputune>"),
    ),
    (
        "`<seclabel type='static'>` of SELinux or AppArmor",
        "<seclabel type='static' model='selinux'/><seclabel type='static' model='apparmor'/>
         <seclabel type='static' model='dac'/><seclabel type='none' model='selinux'/>",
        Ok("<seclabel type='static' model='dac'/><seclabel type='none' model='selinux'/>"),
    ),
    (
        "`<loader type='pflash'>` without `readonly='yes'`",
        "<os><loader type='pflash' readonly='no'>/fw</loader></os>",
        Err("its guest may write to its firmware `/fw`"),
    ),
    (
        "`<loader type='pflash'>` without `readonly='yes'`",
        "<os><loader type='pflash'>/fw</loader></os>",
        Err("its guest may write to its firmware `/fw`"),
    ),
    (
        "`<nvram>` on a block device or the network",
        "<os><loader type='pflash' readonly='yes'>/fw</loader><nvram type='block'><source dev='/dev/v'/></nvram></os>",
        Err("its firmware's variables are not in a file (`<nvram type='block'>`)"),
    ),
    (
        "`<nvram>` on a block device or the network",
        "<os><loader type='pflash' readonly='yes'>/fw</loader><nvram type='network'><source/></nvram></os>",
        Err("its firmware's variables are not in a file (`<nvram type='network'>`)"),
    ),
    (
        "`<nvram>` in a file",
        "<os firmware='efi'><type>hvm</type><firmware><feature enabled='no' name='secure-boot'/></firmware>
           <loader type='pflash' readonly='yes'>/fw</loader><nvram template='/t'>/m.fd</nvram></os>",
        Ok("<os><type>hvm</type><loader type='pflash' readonly='yes'>/fw</loader>
           <nvram template='/m.fd'>/s/clone.nvram</nvram></os>"),
    ),
    (
        "`<nvram>` in a file",
        "<os><loader type='pflash' readonly='yes'>/fw</loader>
           <nvram type='file' format='qcow2'><source file='/m.qcow2'/></nvram></os>",
        Ok("<os><loader type='pflash' readonly='yes'>/fw</loader>
           <nvram format='qcow2' template='/m.qcow2' templateFormat='qcow2'>/s/clone.nvram</nvram></os>"),
    ),
    (
        "`<nvram>` in a file",
        "<os><loader type='pflash' readonly='yes'>/fw</loader>
           <nvram template='/t' templateFormat='qcow2' format='raw'>/m.fd</nvram></os>",
        Ok("<os><loader type='pflash' readonly='yes'>/fw</loader>
           <nvram template='/m.fd' format='raw'>/s/clone.nvram</nvram></os>"),
    ),
    ("`<nvram>` in a file", "<os firmware='efi'/>", Ok("<os firmware='efi'><nvram>/s/clone.nvram</nvram></os>")),
    ("`<nvram>` in a file", "<os firmware='efi'><loader stateless='yes' readonly='yes' type='pflash'>/f</loader></os>", SAME),
    (
        "`<kernel>`, `<initrd>`, `<dtb>`, `<acpi>`, read-only `<loader>`",
        "<os><loader>/bios</loader><kernel>/k</kernel><initrd>/i</initrd><dtb>/d</dtb>
           <acpi><table type='slic'>/s</table></acpi></os>",
        SAME,
    ),
    ("`<memoryBacking>`", "<memoryBacking><hugepages/><source type='file'/></memoryBacking>", SAME),
    (
        "`<disk>` that the snapshot holds",
        "<disk type='file' device='disk'><source file='/a'/><target dev='vda'/></disk>",
        SAME,
    ),
    (
        "`<disk type='nvme'>`, `'vhostuser'`, `'vhostvdpa'`",
        "<disk type='nvme' device='disk'><source type='pci'/><target dev='vdb'/><readonly/></disk>",
        Err("its disk `vdb` is a device of the host (`nvme`)"),
    ),
    (
        "`<disk type='nvme'>`, `'vhostuser'`, `'vhostvdpa'`",
        "<disk type='vhostuser' device='disk'><source type='unix' path='/s'/><target dev='vdb'/></disk>",
        Err("its disk `vdb` is a device of the host (`vhostuser`)"),
    ),
    (
        "`<disk type='nvme'>`, `'vhostuser'`, `'vhostvdpa'`",
        "<disk type='vhostvdpa' device='disk'><source dev='/dev/vhost-vdpa-0'/><target dev='vdb'/></disk>",
        Err("its disk `vdb` is a device of the host (`vhostvdpa`)"),
    ),
    (
        "`<disk device='floppy'>` that is not read-only: its medium",
        "<disk type='file' device='floppy'><source file='/f'/><backingStore/><target dev='fda'/></disk>",
        Ok("<disk type='file' device='floppy'><target dev='fda'/></disk>"),
    ),
    (
        "other `<disk>`: read-only ones, CDs, empty drives",
        "<disk type='file' device='floppy'><source file='/f'/><target dev='fda'/><readonly/></disk>
         <disk type='file' device='cdrom'><source file='/c'/><target dev='sda'/><readonly/></disk>
         <disk type='file' device='cdrom'><target dev='sdb'/></disk>",
        SAME,
    ),
    ("`<lease>`", "<lease><lockspace>l</lockspace><key>k</key><target path='/l'/></lease>", Ok("")),
    (
        "`<filesystem>` with a `socket`",
        "<filesystem type='mount'><driver type='virtiofs'/><source socket='/s'/><target dir='d'/></filesystem>",
        Err("it mounts a directory through the socket `/s`"),
    ),
    (
        "`<filesystem>` of a directory",
        "<filesystem type='mount'><source dir='/d'/><target dir='d'/></filesystem>",
        SAME,
    ),
    (
        "`<hostdev>`",
        "<hostdev mode='subsystem' type='pci'><source>
           <address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/></source></hostdev>",
        Err("it has the host's PCI device `0000:06:12.5`"),
    ),
    (
        "`<hostdev>`",
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
        Err("it has the host's USB device `0x1234:0xbeef`"),
    ),
    (
        "`<hostdev>`",
        "<hostdev mode='subsystem' type='usb'><source><address bus='14' device='6'/></source></hostdev>",
        Err("it has the host's USB device `14:6`"),
    ),
    (
        "`<hostdev>`",
        "<hostdev mode='subsystem' type='mdev'><source><address uuid='53'/></source></hostdev>",
        Err("it has the host's mediated device `53`"),
    ),
    (
        "`<hostdev>`",
        "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/></source></hostdev>",
        Err("it has the host's device of the type `scsi`"),
    ),
    (
        "`<interface>` of the types `hostdev`, `vdpa`, `vhostuser`, `server`, `client`, `udp`",
        "<interface type='vhostuser'><source type='unix' path='/s' mode='client'/></interface>",
        Err("its network card is of the type `vhostuser`"),
    ),
    (
        "`<interface>` of the types `hostdev`, `vdpa`, `vhostuser`, `server`, `client`, `udp`",
        "<interface type='vhostuser'><backend type='passt' logFile='/l'/><mac address='a'/></interface>",
        Ok("<interface type='vhostuser'><backend type='passt'/></interface>"),
    ),
    (
        "`<interface>` with `<source mode='passthrough'>`, `<target managed='no'>` or `<virtualport type='midonet'>`",
        "<interface type='direct'><source dev='eth0' mode='passthrough'/></interface>",
        Err("its network card uses the host's `eth0` exclusively"),
    ),
    (
        "`<interface>` with `<source mode='passthrough'>`, `<target managed='no'>` or `<virtualport type='midonet'>`",
        "<interface type='ethernet'><target dev='tap7' managed='no'/></interface>",
        Err("its network card uses the host's `tap7`"),
    ),
    (
        "`<interface>` with `<source mode='passthrough'>`, `<target managed='no'>` or `<virtualport type='midonet'>`",
        "<interface type='bridge'><virtualport type='midonet'><parameters interfaceid='1'/></virtualport></interface>",
        Err("its network card is attached to a port of MidoNet"),
    ),
    (
        "`<interface type='user'>`: `logFile`, `<portForward>`",
        "<interface type='user'><mac address='a'/><backend type='passt' logFile='/l'/><source dev='eth0'/>
           <portForward proto='tcp'><range start='2022' to='22'/></portForward></interface>",
        Ok("<interface type='user'><mac address='a'/><backend type='passt'/><source dev='eth0'/></interface>"),
    ),
    (
        "other `<interface>`: `<mac>`, the name of its `<target>`, `interfaceid`, `instanceid`",
        "<interface type='network'><mac address='a'/><source network='n'/><target dev='web0'/>
           <virtualport type='openvswitch'><parameters interfaceid='1' profileid='p'/></virtualport></interface>
         <interface type='direct'><mac address='b'/><source dev='e' mode='bridge'/><target dev='macvtap0'/>
           <virtualport type='802.1Qbg'><parameters managerid='1' instanceid='2'/></virtualport></interface>
         <interface type='bridge'><mac address='c'/></interface>
         <interface type='ethernet'><mac address='c'/><target dev='t'/><script path='/s'/></interface>
         <interface type='mcast'><mac address='d'/><source address='230.0.0.1' port='5558'/></interface>",
        Ok("<interface type='network'><source network='n'/>
           <virtualport type='openvswitch'><parameters profileid='p'/></virtualport></interface>
         <interface type='direct'><source dev='e' mode='bridge'/>
           <virtualport type='802.1Qbg'><parameters managerid='1'/></virtualport></interface>
         <interface type='bridge'/>
         <interface type='ethernet'><script path='/s'/></interface>
         <interface type='mcast'><source address='230.0.0.1' port='5558'/></interface>"),
    ),
    (
        "`<serial>`, `<parallel>`, `<console>`, `<channel>`, `<redirdev>`, `<smartcard>`: `<log>`",
        "<serial type='pty'><log file='/l' append='on'/><target port='0'/></serial><parallel type='null'><log file='/l'/>
         </parallel><console type='pty'><log file='/l'/></console><channel type='null'><log file='/l'/></channel>
         <redirdev bus='usb' type='null'><log file='/l'/></redirdev>",
        Ok("<serial type='pty'><target port='0'/></serial><parallel type='null'/><console type='pty'/>
            <channel type='null'/><redirdev bus='usb' type='null'/>"),
    ),
    (
        "`<serial>`, `<parallel>`, `<console>` to a port, a socket, a file, a pipe or a device of the host",
        "<serial type='tcp'><source mode='bind' host='h' service='1'/><protocol type='telnet'/><target port='0'/></serial>
         <serial type='udp'><source mode='bind' service='1'/><source mode='connect' service='2'/></serial>
         <serial type='unix'><source mode='bind' path='/s'/></serial><serial type='file'><source path='/s'/></serial>
         <serial type='pipe'><source path='/s'/></serial><parallel type='dev'><source path='/dev/parport0'/></parallel>
         <console type='tcp'><source mode='connect' host='h' service='1'/><target type='virtio'/></console>
         <serial type='vc'/><serial type='stdio'/><serial type='spiceport'><source channel='c'/></serial>",
        Ok("<serial type='pty'><target port='0'/></serial><serial type='pty'/><serial type='pty'/><serial type='pty'/>
         <serial type='pty'/><parallel type='pty'/><console type='pty'><target type='virtio'/></console>
         <serial type='vc'/><serial type='stdio'/><serial type='spiceport'><source channel='c'/></serial>"),
    ),
    (
        "`<channel>` to any of these",
        "<channel type='unix'><source mode='bind' path='/s'/><target type='virtio' name='a'/></channel>
         <channel type='unix'><source mode='connect' path='/s'/><target type='virtio' name='b'/></channel>
         <channel type='file'><source path='/f'/><target type='virtio' name='c'/></channel>
         <channel type='tcp'><source mode='bind' service='1'/><protocol type='raw'/><target type='guestfwd'/></channel>
         <channel type='spicevmc'><target type='virtio' name='d'/></channel>",
        Ok("<channel type='unix'><target type='virtio' name='a'/></channel>
         <channel type='unix'><target type='virtio' name='b'/></channel>
         <channel type='unix'><target type='virtio' name='c'/></channel>
         <channel type='pty'><target type='guestfwd'/></channel>
         <channel type='spicevmc'><target type='virtio' name='d'/></channel>"),
    ),
    (
        "`<redirdev>`, `<smartcard mode='passthrough'>` to any of these",
        "<redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='4000'/><protocol type='raw'/></redirdev>
         <redirdev bus='usb' type='spicevmc'/><smartcard mode='passthrough' type='unix'><source mode='bind' path='/s'/>
         </smartcard><smartcard mode='host-certificates'><certificate>c</certificate></smartcard>",
        Ok("<redirdev bus='usb' type='null'/><redirdev bus='usb' type='spicevmc'/>
         <smartcard mode='passthrough' type='null'/>
         <smartcard mode='host-certificates'><certificate>c</certificate></smartcard>"),
    ),
    ("`<smartcard mode='host'>`", "<smartcard mode='host'/>", Err("it has the smart card reader of the host")),
    (
        "`<rng>` with an `egd` back end",
        "<rng model='virtio'><rate bytes='1'/><backend model='egd' type='tcp'><source mode='bind' service='1'/></backend></rng>
         <rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>",
        Ok("<rng model='virtio'><rate bytes='1'/><backend model='random'>/dev/urandom</backend></rng>
         <rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>"),
    ),
    (
        "`<graphics>` of the types `vnc`, `spice`, `rdp`: ports and sockets",
        "<graphics type='vnc' port='5999' autoport='no' websocket='5700' passwd='p'><listen type='address' address='::'/></graphics>
         <graphics type='vnc' port='-1' autoport='yes'/>
         <graphics type='vnc' socket='/s'/>
         <graphics type='vnc' socket='/s'><listen type='socket' socket='/s'/></graphics>
         <graphics type='spice' port='1' tlsPort='2' autoport='no'/>
         <graphics type='spice' autoport='no'/>
         <graphics type='spice'><listen type='none'/><gl enable='yes'/></graphics>
         <graphics type='rdp' port='3389' autoport='no'/>",
        Ok("<graphics type='vnc' autoport='yes' websocket='-1' passwd='p'><listen type='address' address='::'/></graphics>
         <graphics type='vnc' autoport='yes'/>
         <graphics type='vnc'><listen type='socket'/></graphics>
         <graphics type='vnc'><listen type='socket'/></graphics>
         <graphics type='spice' autoport='yes'/>
         <graphics type='spice' autoport='no'/>
         <graphics type='spice'><listen type='none'/><gl enable='yes'/></graphics>
         <graphics type='rdp' autoport='yes'/>"),
    ),
    (
        "`<graphics type='dbus'>`: its bus",
        "<graphics type='dbus' address='unix:path=/b'/><graphics type='dbus' p2p='yes'/>",
        Ok("<graphics type='dbus'/><graphics type='dbus' p2p='yes'/>"),
    ),
    (
        "`<audio>` to the host's sound system or a file",
        "<audio id='1' type='alsa'><input dev='/dev/dsp'/></audio><audio id='2' type='file' path='/w'/>
         <audio id='3' type='spice'/><audio id='4' type='none'/>",
        Ok("<audio id='1' type='none'/><audio id='2' type='none'/><audio id='3' type='spice'/><audio id='4' type='none'/>"),
    ),
    (
        "`<input type='passthrough'>`",
        "<input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>",
        Err("it has the input device `/dev/input/event1` of the host"),
    ),
    (
        "`<input type='evdev'>`",
        "<input type='evdev'><source dev='/dev/input/event1' grab='all'/></input><input type='tablet' bus='usb'/>",
        Ok("<input type='tablet' bus='usb'/>"),
    ),
    (
        "`<vsock>`: its `cid`",
        "<vsock model='virtio'><cid auto='no' address='4'/></vsock><vsock><cid auto='yes' address='5'/></vsock>",
        Ok("<vsock model='virtio'><cid auto='yes'/></vsock><vsock><cid auto='yes'/></vsock>"),
    ),
    (
        "`<tpm>` with an `emulator` back end: its state",
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'>
           <source type='file' path='/t'/><encryption secret='s'/></backend></tpm>",
        Ok("<tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='s'/></backend></tpm>"),
    ),
    (
        "`<tpm>` with a `passthrough` or `external` back end",
        "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
        Err("it has the TPM of the host"),
    ),
    (
        "`<tpm>` with a `passthrough` or `external` back end",
        "<tpm><backend type='external'><source type='unix' mode='connect' path='/t'/></backend></tpm>",
        Err("its TPM is an external program"),
    ),
    (
        "`<shmem>` with a `<server>`",
        "<shmem name='s0'><model type='ivshmem-doorbell'/><server path='/s'/></shmem>",
        Err("its shared memory `s0` comes from a server"),
    ),
    (
        "other `<shmem>`: its name",
        "<shmem name='s0' role='peer'><model type='ivshmem-plain'/></shmem><shmem name='s1'/>",
        Ok("<shmem name='snaptree-c91e751a19c57e44-07de9426' role='peer'><model type='ivshmem-plain'/></shmem>
            <shmem name='snaptree-c91e751a19c57e44-c462b2a1'/>"),
    ),
    (
        "`<memory model='nvdimm'>`, `'virtio-pmem'` that its guest writes to",
        "<memory model='nvdimm'><source><path>/n</path></source><target><size>1</size></target></memory>",
        Err("its guest writes to the memory device `/n`"),
    ),
    (
        "`<memory model='nvdimm'>`, `'virtio-pmem'` that its guest writes to",
        "<memory model='virtio-pmem' access='private'><source><path>/n</path></source></memory>",
        Err("its guest writes to the memory device `/n`"),
    ),
    (
        "`<memory model='nvdimm'>`, `'virtio-pmem'` that its guest writes to",
        "<memory model='nvdimm' access='private'><source><path>/n</path></source></memory>
         <memory model='nvdimm'><source><path>/n</path></source><target><readonly/></target></memory>
         <memory model='dimm'/>",
        SAME,
    ),
    (
        "`<pstore>`: its file",
        "<pstore backend='acpi-erst'><path>/p</path><size>64</size></pstore>",
        Ok("<pstore backend='acpi-erst'><path>/s/clone.pstore</path><size>64</size></pstore>"),
    ),
    (
        "every other device",
        "<controller type='usb'/><video><model type='vga'/></video><sound model='ich9'/><watchdog model='itco'/>",
        SAME,
    ),
];

fn rule(what: &str) -> &'static Rule {
    rules().find(|rule| rule.what == what).unwrap_or_else(|| panic!("there is no row {what}"))
}

#[test]
fn each_row_does_what_it_says() {
    for (what, before, after) in SAMPLES {
        let rule = rule(what);
        let expected = match after {
            Ok("=") => Ok(printed(before)),
            Ok(after) => Ok(printed(after)),
            Err(cause) => Err(cause.to_string()),
        };
        assert_eq!(cloned(rule, before), expected, "{what}");
    }
}

#[test]
fn each_row_has_a_sample_that_shows_its_treatment() {
    for rule in rules().filter(|rule| !rule.what.starts_with("`<qemu:arg>`")) {
        let shows = |(what, _, after): &&Sample| {
            *what == rule.what
                && match rule.treatment {
                    Replaced if rule.what == "`<disk>` that the snapshot holds" => true,
                    Replaced | LeftOut => after.is_ok_and(|after| after != "="),
                    Kept => *after == SAME,
                    Refused => after.is_err(),
                }
        };
        assert!(SAMPLES.iter().any(|sample| shows(&sample)), "{} has none", rule.what);
    }
}

#[test]
fn the_documentation_has_the_same_table() {
    let text = include_str!("../../../../docs/clones.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let cells: Vec<(&str, &str)> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let rules: Vec<(&str, &str)> = rules().map(|rule| (rule.what, rule.treatment.word())).collect();
    assert_eq!(cells, rules);
}

#[test]
fn variables_that_were_never_written_come_from_their_template() {
    let os = |sample: &str| {
        let mut domain = Element::parse(&format!("<domain>{sample}</domain>")).unwrap();
        apply(&mut domain, &identity(gone)).unwrap();
        domain.find("os").unwrap().to_string()
    };
    let with_template = "<os><loader type='pflash' readonly='yes'>/fw</loader><nvram template='/t'>/m.fd</nvram></os>";
    assert_eq!(os(with_template), printed(&with_template.replace("/m.fd", "/s/clone.nvram")));
    let chosen = "<os firmware='efi'><loader type='pflash' readonly='yes'>/fw</loader><nvram>/m.fd</nvram></os>";
    assert_eq!(os(chosen), printed("<os firmware='efi'><nvram>/s/clone.nvram</nvram></os>"));
}

#[test]
fn an_obstacle_is_seen_before_a_clone_is_made() {
    let domain = |devices: &str| Element::parse(&format!("<domain><devices>{devices}</devices></domain>")).unwrap();
    assert_eq!(obstacle(&domain("<serial type='tcp'/>")), None);
    let cause = obstacle(&domain("<interface type='hostdev'/>")).unwrap();
    assert_eq!(cause, "its network card is of the type `hostdev`");
    let ours = "<domain><qemu:commandline><qemu:arg value='-object'/><qemu:arg value='{\"id\":\"snaptree.ram\",
        \"qom-type\":\"memory-backend-file\",\"share\":true}'/></qemu:commandline></domain>";
    assert_eq!(obstacle(&Element::parse(&ours.replace('\n', "")).unwrap()), None);
}

#[test]
fn the_memory_that_a_clone_could_share_is_found_by_its_name() {
    let rule = rule("other `<shmem>`: its name");
    let names = cloned(rule, "<shmem name='a'/><shmem name='b'/>").unwrap();
    let prefix = devices::shared_memory_prefix("clone");
    let names: Vec<&str> = names.split('\'').skip(1).step_by(2).collect();
    assert!(names.iter().all(|name| name.starts_with(&prefix)) && names[0] != names[1], "{names:?}");
    assert!(!names[0].starts_with(&devices::shared_memory_prefix("clone2")));
}
