#![allow(clippy::unwrap_used)]

use super::*;

fn disk(content: &str) -> Element {
    Element::parse(content).unwrap()
}

#[test]
fn a_disk_with_another_file_keeps_what_is_not_about_the_file_before() {
    let mut raw = disk(
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>
           <source file='/a' startupPolicy='optional' index='1'><seclabel model='dac' relabel='no'/></source>
           <backingStore type='file'><format type='raw'/><source file='/b'/></backingStore>
           <target dev='vda' bus='virtio'/><serial>WD-1</serial></disk>",
    );
    let before = raw.clone();
    give_file(&mut raw, &DiskFile { target: "vda".into(), file: "/a".into(), format: "raw".into() }).unwrap();
    assert_eq!(raw, before, "it has that file");
    give_file(&mut raw, &qcow2("vda", Path::new("/new"))).unwrap();
    let expected = disk(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
           <source file='/new' startupPolicy='optional'><seclabel model='dac' relabel='no'/></source>
           <target dev='vda' bus='virtio'/><serial>WD-1</serial></disk>",
    );
    assert_eq!(raw, expected);
}

#[test]
fn a_disk_that_was_left_out_has_what_it_has_now() {
    let domain = |disk: &str| disk_domain(disk);
    let volume = "<disk type='volume' device='disk'><driver type='qcow2'/><source pool='p' volume='now'/>
                    <target dev='vdb' bus='virtio'/></disk>";
    let mut then = domain(
        "<disk type='file' device='disk'><driver type='raw'/><source file='/then'/><target dev='vdb' bus='sata'/></disk>",
    );
    let as_now = DiskChanges { files: Vec::new(), as_now: vec!["vdb".into(), "vdc".into()] };
    change_disks(&mut then, &as_now, &domain(volume)).unwrap();
    // Where it is plugged in is the machine's, as it was then.
    assert_eq!(then, domain(&volume.replace("virtio", "sata")));
}

#[test]
fn a_disk_stands_alone_when_its_chain_ends_at_once() {
    let domain = "<domain><devices><disk><target dev='vda'/><backingStore/></disk><disk><target dev='vdb'/>
        <backingStore type='file'><source file='/b'/><backingStore/></backingStore></disk></devices></domain>";
    let domain = Element::parse(domain).unwrap();
    assert!(stands_alone(&domain, "vda").unwrap());
    assert!(!stands_alone(&domain, "vdb").unwrap());
    assert_eq!(stands_alone(&domain, "vdc").unwrap_err().message, "the domain has no disk `vdc`");
}

fn disk_domain(disk: &str) -> Element {
    Element::parse(&format!("<domain><devices>{disk}</devices></domain>")).unwrap()
}
