//! What a clone takes over from a running domain.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::hypervisor::{CloneSpec, Document, Metadata, Ram};
use crate::libvirt::xml::domain_xml::tests::RUNNING;

#[test]
fn a_clone_keeps_the_hardware_and_drops_what_belongs_to_the_other_run() {
    let clone = CloneSpec {
        name: "fork <1>".to_string(),
        uuid: "2".to_string(),
        document: Document(RUNNING.to_string()),
        disks: [("vda".to_string(), "/s/fork.qcow2".into())].into(),
        nvram: "/s/fork.nvram".into(),
        ram: Ram::Default,
        from: None,
        paused: false,
        metadata: Metadata::default(),
    };
    let expected = "\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>fork &lt;1&gt;</name>
  <uuid>2</uuid>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <loader readonly='yes'>/l</loader>
    <nvram template='/t'>/s/fork.nvram</nvram>
  </os>
  <cpu mode='maximum'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/s/fork.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='/a.iso'/>
      <target dev='sda'/>
    </disk>
    <interface type='user'>
      <mac address='52:54:00:00:00:01'/>
    </interface>
    <interface type='network'>
      <source network='default' bridge='virbr0'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <graphics type='vnc' autoport='yes'/>
  </devices>
  <seclabel type='none' model='apparmor'/>
  <qemu:commandline>
    <qemu:arg value='-a'/>
  </qemu:commandline>
  <metadata>
    <snaptree:node xmlns:snaptree='https://snaptree.dev/xmlns/1'/>
  </metadata>
</domain>
";
    assert_eq!(build_clone(&clone, DomainType::Qemu, |_| false).unwrap().to_string(), expected);
    let same = build_clone(&clone, DomainType::Kvm, |_| false).unwrap();
    assert_eq!(same.find("cpu").unwrap().get("migratable"), Some("on"));
}
