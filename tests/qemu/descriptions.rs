//! Descriptions with every element that a domain can have, there and back: snapshot, revert, undo and delete change none.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use super::lab::Lab;

/// Elements outside `<devices>`, and elements inside; the disk's file is `[DISK]`. Each row is one domain, so its
/// elements work together.
const DESCRIPTIONS: [(&str, &str); 9] = [
    (
        "<title>a title</title><description>of what it is for</description>
         <metadata><app:note xmlns:app='http://example.org/app'>theirs</app:note></metadata>
         <maxMemory slots='4' unit='MiB'>512</maxMemory><memory unit='MiB'>128</memory>
         <currentMemory unit='MiB'>64</currentMemory><vcpu placement='static' current='1'>2</vcpu>
         <cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>qemu64</model>
           <topology sockets='2' cores='1' threads='1'/><feature policy='disable' name='svm'/>
           <numa><cell id='0' cpus='0-1' memory='128' unit='MiB'/></numa></cpu>",
        "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu><iothreads>2</iothreads>
         <blkiotune><weight>500</weight></blkiotune><memtune><hard_limit unit='MiB'>1024</hard_limit></memtune>
         <cputune><shares>512</shares><period>100000</period><quota>50000</quota></cputune>
         <resource><partition>/machine</partition></resource>
         <memoryBacking><nosharepages/><source type='memfd'/><access mode='shared'/></memoryBacking>
         <clock offset='variable' adjustment='3600' basis='utc'><timer name='rtc' tickpolicy='catchup'/>
           <timer name='hpet' present='no'/></clock>
         <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>coredump-restart</on_crash>
         <pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='no'/></pm>
         <seclabel type='none' model='dac'/>",
        "<rng model='virtio'><rate bytes='1024' period='2000'/><backend model='random'>/dev/urandom</backend></rng>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>
         <uuid>7b9f6c0e-6f9e-4a68-9a9f-3e4f2d1c0b5a</uuid><genid>7b9f6c0e-6f9e-4a68-9a9f-3e4f2d1c0b5b</genid>
         <sysinfo type='smbios'><bios><entry name='vendor'>Acme &amp; Sons</entry></bios>
           <system><entry name='manufacturer'>Acme</entry><entry name='serial'>S-1 &lt;2&gt;</entry></system>
           <baseBoard><entry name='product'>board</entry></baseBoard>
           <oemStrings><entry>one, two</entry></oemStrings></sysinfo>
         <sysinfo type='fwcfg'><entry name='opt/org.example/name'>a value</entry></sysinfo>",
        "<input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>
         <watchdog model='i6300esb' action='poweroff'/><panic model='isa'/><hub type='usb'/>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>",
        "<graphics type='vnc' port='5942' autoport='no' listen='127.0.0.1' passwd='secret'/>
         <video><model type='cirrus' vram='16384' heads='1' primary='yes'/></video>
         <sound model='ich9'><codec type='micro'/></sound><audio id='1' type='none'/>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>",
        "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='45454'/><protocol type='telnet'/>
           <log file='/var/log/theirs.log' append='on'/></serial>
         <serial type='file'><source path='/var/log/second.txt'/></serial>
         <parallel type='file'><source path='/var/log/printer.txt'/></parallel>
         <console type='pty'><target type='virtio'/></console>
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
         <channel type='unix'><source mode='bind' path='/run/theirs.sock'/><target type='virtio' name='org.example.0'/></channel>
         <smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='45455'/>
           <protocol type='raw'/></smartcard>
         <redirdev bus='usb' type='tcp'><source mode='connect' host='127.0.0.1' service='45456'/></redirdev>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>",
        "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='e1000'/><boot order='2'/></interface>
         <interface type='network'><source network='theirs' portgroup='pg'/><target dev='tap-theirs'/>
           <bandwidth><inbound average='1000' peak='5000' burst='1024'/></bandwidth><link state='down'/>
           <mtu size='1400'/><model type='virtio'/><driver name='qemu' queues='2'/></interface>
         <interface type='bridge'><source bridge='br-theirs'/><virtualport type='openvswitch'/><model type='rtl8139'/></interface>
         <interface type='direct'><source dev='eth9' mode='bridge'/><model type='virtio'/></interface>
         <interface type='mcast'><source address='230.0.0.1' port='5558'/><model type='virtio'/></interface>
         <vsock model='virtio'><cid auto='no' address='42'/></vsock>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>",
        "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='0' slot='25' function='0'/></source></hostdev>
         <hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>
         <filesystem type='mount' accessmode='mapped'><source dir='/srv/theirs'/><target dir='theirs'/><readonly/></filesystem>
         <shmem name='theirs'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
         <tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
         <lease><lockspace>theirs</lockspace><key>a key</key><target path='/srv/lease' offset='1024'/></lease>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu><iothreads>1</iothreads>",
        "<disk type='file' device='disk'>
           <driver name='qemu' type='raw' cache='none' io='native' error_policy='stop' rerror_policy='report'
             discard='unmap' detect_zeroes='unmap' iothread='1' queues='2'/>
           <source file='[DISK]'><seclabel model='dac' relabel='no'/></source>
           <iotune><total_iops_sec>1000</total_iops_sec></iotune><blockio logical_block_size='512' physical_block_size='4096'/>
           <target dev='vdb' bus='virtio'/><boot order='1'/><serial>WD-1 2</serial></disk>
         <disk type='file' device='cdrom'><source file='/srv/gone.iso' startupPolicy='optional'/>
           <target dev='sda' bus='sata' tray='open'/><readonly/></disk>
         <disk type='network' device='disk' snapshot='no'><driver name='qemu' type='raw'/>
           <auth username='theirs'><secret type='iscsi' usage='theirs'/></auth>
           <source protocol='iscsi' name='iqn.2013-07.com.example:storage/1'><host name='example.org' port='3260'/></source>
           <target dev='vdc' bus='virtio'/></disk>",
    ),
    (
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu>",
        "<controller type='scsi' index='0' model='virtio-scsi'><driver queues='2'/></controller>
         <controller type='usb' index='0' model='qemu-xhci' ports='8'/>
         <controller type='virtio-serial' index='0' ports='16' vectors='4'/>
         <iommu model='intel'><driver caching_mode='on'/></iommu>
         <memballoon model='virtio' autodeflate='on'><stats period='10'/></memballoon>",
    ),
];

/// The definition's description line by line, sorted, because libvirt reorders some elements whenever it reads them;
/// without what a snapshot is meant to change, the file and the format of disks that it holds.
fn lines(lab: &Lab) -> Vec<String> {
    let xml = lab.virsh(&["dumpxml", "--inactive", "--security-info", &lab.machine]);
    let store = lab.store.display().to_string();
    let mut lines: Vec<String> = xml.lines().map(|line| line.trim().to_string()).collect();
    for line in &mut lines {
        if line.starts_with("<source file='") && line.contains(&store) {
            *line = format!("<source file{}", &line[line.rfind('\'').unwrap()..]);
        } else if line.starts_with("<driver name='qemu' type='") {
            *line = line.replace("type='raw'", "type=''").replace("type='qcow2'", "type=''");
        }
    }
    lines.sort();
    lines
}

#[test]
#[ignore = "needs QEMU"]
fn no_element_of_a_description_changes() {
    let lab = Lab::new("elements");
    let disk = |name: &str, format: &str| {
        let file = lab.store.join(name);
        super::foreign::qemu_img(&["create", "-q", "-f", format, file.to_str().unwrap(), "8M"]);
        file
    };
    for (number, (outside, inside)) in DESCRIPTIONS.iter().enumerate() {
        let (vda, vdb) = (disk("a.img", "qcow2"), disk("b.img", "raw"));
        let commandline = "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
             <qemu:arg value='-boot'/><qemu:arg value='menu=on'/></qemu:commandline>";
        let xml = format!(
            "<domain type='qemu'><name>{}</name>{outside}<os><type arch='x86_64' machine='q35'>hvm</type>
               <bootmenu enable='no'/></os><features><acpi/><apic/><vmport state='off'/></features>
             <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
               <source file='{}'/><target dev='vda' bus='virtio'/></disk>{}</devices>{commandline}</domain>",
            lab.machine,
            vda.display(),
            inside.replace("[DISK]", vdb.to_str().unwrap())
        );
        let xml = if inside.contains("<boot order") { xml.replace("<bootmenu enable='no'/>", "") } else { xml };
        let file = lab.store.join("domain.xml");
        std::fs::write(&file, xml).unwrap();
        // Twice, since libvirt reorders controllers when it reads its own description.
        lab.virsh(&["define", file.to_str().unwrap()]);
        std::fs::write(&file, lab.virsh(&["dumpxml", "--inactive", "--security-info", &lab.machine])).unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
        std::fs::remove_file(file).unwrap();
        lab.virsh(&["autostart", &lab.machine]);
        let before = lines(&lab);
        let snapshot = format!("{}/s1", lab.machine);
        for arguments in [
            &["snapshot", &lab.machine, "s1"][..],
            &["revert", &snapshot, "--yes"],
            &["undo", &lab.machine],
            &["revert", &snapshot, "--yes"],
            &["delete", &snapshot, "--yes"],
        ] {
            lab.snaptree(arguments).any_stdout().any_stderr().run();
            assert_eq!(lines(&lab), before, "description {number} after {arguments:?}");
        }
        let info = lab.virsh(&["dominfo", &lab.machine]);
        assert!(info.lines().any(|line| line.starts_with("Autostart:") && line.ends_with("enable")), "{info}");
        lab.virsh(&["undefine", &lab.machine]);
        lab.files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}
