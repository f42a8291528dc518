#![allow(clippy::unwrap_used)]

use super::*;
use crate::hypervisor::{Boot, Metadata};
use crate::libvirt::xml::disk_xml::qcow2;

fn spec() -> DomainSpec {
    DomainSpec {
        name: "vm & <'x'> \"日本\"".to_string(),
        uuid: "7905b3da-7e40-4b12-b27a-c24db19ca4dc".to_string(),
        description: "for <tests>".to_string(),
        memory: 1 << 30,
        cpus: 2,
        cpu_model: None,
        firmware: Firmware::Bios,
        network: Network::User,
        boot: None,
        disk: "/s/a & b's.qcow2".into(),
        extra_xml: String::new(),
        metadata: Metadata { attributes: [("key".to_string(), "k".to_string())].into(), ..Metadata::default() },
    }
}

#[test]
fn a_machine_has_what_snaptree_needs_of_it() {
    let expected = "\
<domain type='kvm'>
  <name>vm &amp; &lt;'x'&gt; \"日本\"</name>
  <uuid>7905b3da-7e40-4b12-b27a-c24db19ca4dc</uuid>
  <genid>7905b3da-7e40-4b12-b27a-c24db19ca4dc</genid>
  <description>for &lt;tests&gt;</description>
  <metadata>
    <snaptree:node xmlns:snaptree='https://snaptree.dev/xmlns/1' key='k'/>
  </metadata>
  <memory unit='KiB'>1048576</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='host-passthrough'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/s/a &amp; b&apos;s.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'>
      <mac address='52:54:00:MAC'/>
      <model type='virtio'/>
    </interface>
    <controller type='virtio-serial' index='0' ports='8'/>
    <serial type='pty'/>
    <console type='pty'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='unix'>
      <target type='virtio' name='org.snaptree.waker.0'/>
    </channel>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
    <memballoon model='none'/>
  </devices>
</domain>
";
    let expected = expected.replace("52:54:00:MAC", &mac_address(&spec().uuid));
    assert_eq!(build(&spec(), DomainType::Kvm).unwrap().to_string(), expected);
}

#[test]
fn firmware_kernel_processor_and_network_are_what_the_machine_asks_for() {
    let spec = DomainSpec {
        cpu_model: Some("Nehalem".to_string()),
        firmware: Firmware::Uefi,
        network: Network::Bridge("br<0>".to_string()),
        boot: Some(Boot { kernel: "/k".into(), initrd: "/i".into(), cmdline: "a='b' quiet".to_string() }),
        ..spec()
    };
    let domain = build(&spec, DomainType::Qemu).unwrap();
    assert_eq!(domain.get("type"), Some("qemu"));
    let os = "\
<os firmware='efi'>
  <type arch='x86_64' machine='q35'>hvm</type>
  <kernel>/k</kernel>
  <initrd>/i</initrd>
  <cmdline>a='b' quiet</cmdline>
</os>
";
    assert_eq!(domain.find("os").unwrap().to_string(), os);
    assert_eq!(domain.find("cpu").unwrap().text_of("model"), Some("Nehalem"));
    let interface = domain.find("devices").unwrap().find("interface").unwrap();
    assert_eq!(interface.find("source").unwrap().get("bridge"), Some("br<0>"));
    let lonely = build(&DomainSpec { network: Network::None, ..spec }, DomainType::Qemu).unwrap();
    assert!(lonely.find("devices").unwrap().find("interface").is_none());
}

#[test]
fn the_users_own_devices_come_last_or_are_refused_as_malformed() {
    let with = |xml: &str| build(&DomainSpec { extra_xml: xml.to_string(), ..spec() }, DomainType::Qemu);
    let domain = with("<sound model='ich9'/> <!-- and -->\n<watchdog model='itco'/>").unwrap();
    let names: Vec<&str> = domain.find("devices").unwrap().children.iter().map(|c| c.name.as_str()).collect();
    assert!(names.ends_with(&["memballoon", "sound", "watchdog"]));
    let ports = with("<controller type='virtio-serial' index='0' ports='31'/>").unwrap();
    assert_eq!(ports.find("devices").unwrap().all("controller").count(), 1);
    for xml in ["<sound", "<a></b>", "</devices>", "sound"] {
        let error = with(xml).unwrap_err();
        assert_eq!(error.message, "`extra_xml` of the machine `vm & <'x'> \"日本\"` is malformed", "{xml}");
    }
}

pub const RUNNING: &str = "\
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>vm</name><uuid>1</uuid>
  <metadata><other:x xmlns:other='u'/></metadata>
  <os firmware='efi'><type arch='x86_64' machine='pc-q35-10.0'>hvm</type><loader readonly='yes'>/l</loader>
    <nvram template='/t'>/var/vm_VARS.fd</nvram></os>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <resource><partition>/machine</partition></resource>
  <devices>
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/sdx' index='2'/>
      <backingStore type='file' index='3'><source file='/base'/></backingStore>
      <target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>
    <disk type='file' device='cdrom'><source file='/a.iso'/><target dev='sda'/></disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
    <interface type='network'><mac address='52:54:00:00:00:02'/>
      <source network='default' portid='p' bridge='virbr0'/><target dev='vnet0'/></interface>
    <channel type='unix'><source mode='bind' path='/run/libvirt/7-vm/agent'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
    <console type='pty' tty='/dev/pts/1'><source path='/dev/pts/1'/><target type='serial' port='0'/></console>
    <graphics type='vnc' port='5900' autoport='yes'/>
  </devices>
  <seclabel type='dynamic' model='dac'><imagelabel>+64055:+64055</imagelabel></seclabel>
  <seclabel type='none' model='apparmor'/>
  <qemu:commandline><qemu:arg value='-a'/></qemu:commandline>
</domain>";

#[test]
fn a_redefinition_keeps_the_domains_own_name_metadata_and_firmware() {
    let snapshot = "\
<domainsnapshot>
  <name>s</name>
  <domain type='kvm'><name>other</name><uuid>9</uuid><vcpu>1</vcpu></domain>
  <inactiveDomain type='kvm'>
    <name>other</name>
    <uuid>9</uuid>
    <metadata><other:x xmlns:other='u'/><snaptree:node xmlns:snaptree='v' key='snapshot'/></metadata>
    <vcpu>2</vcpu>
    <os firmware='efi'><loader type='pflash'>/l</loader><nvram format='qcow2'>/var/vm_VARS.qcow2</nvram></os>
    <devices>
      <disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/sdx'/>
        <backingStore type='file'><source file='/base'/></backingStore><target dev='vda'/></disk>
      <disk type='file' device='disk'><source file='/kept'/><target dev='vdb'/></disk>
      <channel type='unix'><source mode='bind' path='/mine'/><target type='virtio' name='mine'/></channel>
    </devices>
  </inactiveDomain>
</domainsnapshot>";
    let expected = "\
<domain type='kvm'>
  <name>vm</name>
  <uuid>1</uuid>
  <title>now</title>
  <metadata>
    <other:x xmlns:other='u'/>
    <snaptree:node xmlns:snaptree='https://snaptree.dev/xmlns/1' key='now'/>
  </metadata>
  <vcpu>2</vcpu>
  <os firmware='efi'>
    <loader type='pflash'>/l</loader>
    <nvram format='qcow2'>/var/vm_VARS.qcow2</nvram>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/s/a &amp; b&apos;s.qcow2'/>
      <target dev='vda'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/kept'/>
      <target dev='vdb'/>
    </disk>
    <channel type='unix'>
      <source mode='bind' path='/mine'/>
      <target type='virtio' name='mine'/>
    </channel>
  </devices>
</domain>
";
    let snapshot = Document(snapshot.to_string());
    // The last one belongs to a running guest alone.
    let disks = [qcow2("vda", Path::new("/s/a & b's.qcow2")), qcow2("vdz", Path::new("/x"))].into();
    let current = "<domain><name>vm</name><uuid>1</uuid><title>now</title></domain>";
    let mut current = Element::parse(current).unwrap();
    let without = build_redefinition(&snapshot, &current, &disks).unwrap();
    assert_eq!((without.find("metadata"), without.text_of("title")), (None, Some("now")));
    let metadata = Metadata { attributes: [("key".to_string(), "now".to_string())].into(), ..Metadata::default() };
    metadata_xml::put(&mut current, &metadata).unwrap();
    let theirs = Element::parse("<other:x xmlns:other='u'/>").unwrap();
    current.find_mut("metadata").unwrap().children.insert(0, theirs);
    assert_eq!(build_redefinition(&snapshot, &current, &disks).unwrap().to_string(), expected);
}

#[test]
fn a_redefinition_after_a_running_domain_drops_what_belongs_to_the_run() {
    let current = Element::parse("<domain><name>vm</name><uuid>1</uuid></domain>").unwrap();
    let domain = build_redefinition(&Document(RUNNING.to_string()), &current, &DiskChanges::default()).unwrap();
    assert_eq!(domain.get("id"), None);
    assert_eq!(domain.find("os").unwrap().text_of("nvram"), Some("/var/vm_VARS.fd"));
    let channel = domain.find("devices").unwrap().find("channel").unwrap();
    assert!(channel.find("source").is_none());
}

#[test]
fn what_is_the_users_choice_is_not_taken_for_a_part_of_the_run() {
    let cleaned = |id: &str, path: &str| {
        let domain = format!(
            "<domain {id}><devices><channel type='unix'><source mode='bind' path='{path}'/>
               <alias name='ua-mine'/></channel>
             <interface type='user'><backend type='passt'/><alias name='net0'/></interface></devices></domain>"
        );
        let mut domain = Element::parse(&domain).unwrap();
        clean(&mut domain);
        let devices = domain.find("devices").unwrap().clone();
        assert_eq!(
            devices.find("interface").unwrap().to_string(),
            "\
<interface type='user'>
  <backend type='passt'/>
</interface>
"
        );
        let channel = devices.find("channel").unwrap();
        assert_eq!(channel.find("alias").unwrap().get("name"), Some("ua-mine"));
        channel.find("source").is_some()
    };
    for path in
        ["/run/libvirt/qemu/channel/7-vm/a", "/var/lib/libvirt/qemu/channel/target/domain-12-a-b/a", "/r/agent/0"]
    {
        assert!(!cleaned("id='7'", path), "{path}");
    }
    for path in ["/srv/mine/a.sock", "/mine.sock", "/srv/domain-a/s"] {
        assert!(cleaned("id='7'", path), "{path}");
    }
    assert!(cleaned("", "/run/libvirt/qemu/channel/7-vm/a"));
    let clean = |xml: &str| {
        let mut domain = Element::parse(xml).unwrap();
        clean(&mut domain);
        domain
    };
    let partition = |id: &str, name: &str| {
        clean(&format!("<domain {id}><resource><partition>{name}</partition></resource></domain>"))
    };
    assert!(partition("id='7'", "/machine").find("resource").is_none());
    assert!(partition("id='7'", "/machine/web").find("resource").is_some());
    assert!(partition("", "/machine").find("resource").is_some());
    for (name, stays) in [("vnet3", false), ("macvtap0", false), ("web0", true)] {
        let card = format!(
            "<domain id='7'><devices><interface type='bridge'><target dev='{name}'/></interface></devices></domain>"
        );
        let devices = clean(&card).find("devices").unwrap().clone();
        assert_eq!(devices.find("interface").unwrap().find("target").is_some(), stays, "{name}");
    }
}

#[test]
fn a_snapshots_document_stands_for_its_domain() {
    let snapshot = |content: &str| Document(format!("<domainsnapshot><name>s</name>{content}</domainsnapshot>"));
    let domain = parse(&snapshot("<domain id='1'/><inactiveDomain/>")).unwrap();
    assert_eq!(domain, Element::new("domain").with("id", "1"));
    let error = parse(&snapshot("")).unwrap_err();
    assert_eq!(error.message, "the snapshot `s` does not hold its domain's description");
    assert_eq!(parse(&Document("<network/>".to_string())).unwrap_err().kind, crate::error::Kind::Bug);
}

#[test]
fn a_machine_whose_name_leaves_no_room_for_sockets_has_them_in_the_store() {
    let of = |name: &str, disk: &str| DomainSpec { name: name.to_string(), disk: disk.into(), ..spec() };
    let paths =
        |spec: &DomainSpec| build(spec, DomainType::Kvm).map(|domain| domain.to_string().matches("path='").count());
    let long = "語".repeat(20);
    assert_eq!(paths(&of(&"x".repeat(247), "/s/machines/m/disk")).unwrap(), 0);
    assert_eq!(paths(&of(&long, "/s/machines/m/disk")).unwrap(), 2);
    let deep = format!("/{}/machines/m/disk", "s".repeat(92));
    let error = paths(&of(&long, &deep)).unwrap_err();
    assert_eq!(error.causes, ["it has 108 bytes, and 107 is the limit"]);
}

#[test]
fn the_ports_that_the_host_uses_can_have_sockets_elsewhere() {
    let mut domain = build(&spec(), DomainType::Kvm).unwrap();
    let own = "<channel type='unix'><target type='virtio' name='mine'/></channel>";
    domain.find_mut("devices").unwrap().children.push(Element::parse(own).unwrap());
    place_ports(&mut domain, |port| PathBuf::from(format!("/s/{port}"))).unwrap();
    let channels: Vec<&Element> = domain.find("devices").unwrap().all("channel").collect();
    let path = |channel: &Element| channel.find("source").and_then(|it| it.get("path")).map(str::to_string);
    let paths: Vec<Option<String>> = channels.into_iter().map(path).collect();
    assert_eq!(paths, [Some("/s/0".to_string()), Some("/s/1".to_string()), None]);
}
