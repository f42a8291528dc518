#![allow(clippy::unwrap_used)]

use super::*;
use crate::hypervisor::{DiskFile, DiskState, Metadata, SnapshotFlags};

fn spec() -> SnapshotSpec {
    SnapshotSpec {
        name: "after 'a' <b> & \"日本\"".to_string(),
        parent: Some("sn01 & co".to_string()),
        comment: "fresh <install>".to_string(),
        created: 1_795_384_316,
        current: true,
        document: Document(
            "<domain type='qemu' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
              <name>builder</name><uuid>1</uuid>
              <devices>
                <disk type='file' device='disk'><source file='/old' index='1'/><backingStore type='file'/>
                  <target dev='vda'/><alias name='x'/></disk>
                <disk type='file' device='cdrom'><source file='/a.iso'/><target dev='sda'/></disk>
              </devices>
              <qemu:commandline><qemu:arg value='-S'/></qemu:commandline>
            </domain>"
                .to_string(),
        ),
        disks: vec![DiskState {
            target: "vda".to_string(),
            layer: "/s/l'1.qcow2".into(),
            overlay: "/s/o1.qcow2".into(),
        }],
        memory: Memory::No,
        metadata: Metadata {
            attributes: [("key".to_string(), "k".to_string())].into(),
            lines: vec!["run x".to_string()],
            payload: Vec::new(),
        },
    }
}

#[test]
fn a_snapshot_for_the_tree_names_the_layer_and_the_overlay() {
    let expected = "\
<domainsnapshot>
  <name>after 'a' &lt;b&gt; &amp; \"日本\"</name>
  <description>fresh &lt;install&gt;</description>
  <state>shutoff</state>
  <parent>
    <name>sn01 &amp; co</name>
  </parent>
  <creationTime>1795384316</creationTime>
  <memory snapshot='no'/>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <driver type='qcow2'/>
      <source file='/s/o1.qcow2'/>
    </disk>
    <disk name='sda' snapshot='no'/>
  </disks>
  <domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <name>vm</name>
    <uuid>2</uuid>
    <devices>
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2'/>
        <source file='/s/l&apos;1.qcow2'/>
        <target dev='vda'/>
      </disk>
      <disk type='file' device='cdrom'>
        <source file='/a.iso'/>
        <target dev='sda'/>
      </disk>
    </devices>
    <qemu:commandline>
      <qemu:arg value='-S'/>
    </qemu:commandline>
    <metadata>
      <snaptree:node xmlns:snaptree='https://snaptree.dev/xmlns/1' key='k'>
        <snaptree:operation>run x</snaptree:operation>
      </snaptree:node>
    </metadata>
  </domain>
</domainsnapshot>
";
    assert_eq!(build(&spec(), "vm", "2").unwrap().to_string(), expected);
}

#[test]
fn what_was_built_is_read_back() {
    let spec = spec();
    let document = Document(build(&spec, "vm", "2").unwrap().to_string());
    let snapshot = read(&document).unwrap();
    assert_eq!(snapshot.name, spec.name);
    assert_eq!(snapshot.parent, spec.parent);
    assert_eq!(snapshot.comment, spec.comment);
    assert_eq!(snapshot.created, spec.created);
    assert_eq!(snapshot.state, "shutoff");
    assert!(!snapshot.is_current);
    assert_eq!(snapshot.memory, Memory::No);
    assert_eq!(
        snapshot.disks,
        [
            SnapshotDisk {
                target: "vda".to_string(),
                kind: Some(SnapshotKind::External),
                is_written: true,
                file: Some("/s/l'1.qcow2".into()),
                format: "qcow2".to_string(),
                overlay: Some("/s/o1.qcow2".into()),
                obstacle: None,
                is_running_only: false,
                is_optional: false,
            },
            SnapshotDisk {
                target: "sda".to_string(),
                kind: None,
                is_written: false,
                file: Some("/a.iso".into()),
                format: "raw".to_string(),
                overlay: None,
                obstacle: None,
                is_running_only: false,
                is_optional: false,
            },
        ]
    );
    let layer = DiskFile { target: "vda".to_string(), file: "/s/l'1.qcow2".into(), format: "qcow2".to_string() };
    assert_eq!(snapshot.layers(), [layer]);
    assert_eq!(snapshot.metadata, Some(spec.metadata));
    assert_eq!(snapshot.document, document);
}

/// What libvirt says of a snapshot of a domain with a disk to write to, one to read, and an empty drive.
fn described(content: &str) -> Snapshot {
    let xml = format!(
        "<domainsnapshot><name>s</name>{content}<domain><devices>
           <disk device='disk'><driver type='qcow2'/><source file='/a'/><target dev='vda'/></disk>
           <disk device='disk'><driver type='raw'/><source file='/b'/><target dev='vdb'/><readonly/></disk>
           <disk device='cdrom'><target dev='sda'/></disk>
         </devices></domain></domainsnapshot>"
    );
    read(&Document(xml)).unwrap()
}

fn kinds(snapshot: &Snapshot) -> Vec<Option<SnapshotKind>> {
    snapshot.disks.iter().map(|disk| disk.kind).collect()
}

#[test]
fn ram_is_where_the_snapshot_says_or_where_an_old_libvirt_put_it() {
    let memory = |content: &str| described(content).memory;
    assert_eq!(memory("<memory snapshot='no'/><state>running</state>"), Memory::No);
    assert_eq!(memory("<memory snapshot='internal'/>"), Memory::Internal);
    assert_eq!(memory("<memory snapshot='external' file='/r &amp; m'/>"), Memory::External("/r & m".into()));
    assert_eq!(memory("<state>running</state>"), Memory::Internal);
    assert_eq!(memory("<state>paused</state>"), Memory::Internal);
    assert_eq!(memory("<state>shutoff</state>"), Memory::No);
    assert_eq!(memory("<state>disk-snapshot</state>"), Memory::No);
}

#[test]
fn disks_are_held_as_the_list_says_and_internally_where_there_is_none() {
    let old = described("<state>shutoff</state>");
    assert_eq!(kinds(&old), [Some(SnapshotKind::Internal), None, None]);
    assert_eq!(old.kind(), SnapshotKind::Internal);
    let mixed = described(
        "<disks><disk name='vda' snapshot='internal'/><disk name='vdb' snapshot='manual'/>
         <disk name='sda' snapshot='no'/></disks>",
    );
    assert_eq!(kinds(&mixed), [Some(SnapshotKind::Internal), None, None]);
    let external = described(
        "<disks><disk name='sda' snapshot='no'/>
         <disk name='vda' snapshot='external'><source file='/o'/></disk></disks>",
    );
    assert_eq!(kinds(&external), [Some(SnapshotKind::External), None, None]);
    assert_eq!(external.files().collect::<Vec<_>>(), [Path::new("/a"), Path::new("/o")]);
    assert_eq!(external.disks.iter().map(|disk| disk.is_written).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn a_document_that_is_no_snapshot_is_refused() {
    for xml in ["<domain/>", "<domainsnapshot>"] {
        let error = read(&Document(xml.to_string())).unwrap_err();
        assert_eq!(error.message, "cannot read a snapshot's document", "{xml}");
    }
}

fn request() -> SnapshotRequest {
    SnapshotRequest {
        name: "a & b".to_string(),
        comment: "before <it>".to_string(),
        kind: SnapshotKind::External,
        disks: vec![("vda".to_string(), Some("/s/o'1.qcow2".into()))],
        memory: Some("/s/ram & co".into()),
        flags: SnapshotFlags::default(),
    }
}

fn domain(attributes: &str) -> Element {
    let disks = "<disk><source file='/a'/><target dev='vda'/></disk><disk><target dev='vdb'/></disk>
        <disk device='cdrom'><target dev='sda'/></disk>";
    Element::parse(&format!("<domain{attributes}><devices>{disks}</devices></domain>")).unwrap()
}

#[test]
fn a_request_names_every_disk_and_the_ram() {
    let expected = "\
<domainsnapshot>
  <name>a &amp; b</name>
  <description>before &lt;it&gt;</description>
  <memory snapshot='external' file='/s/ram &amp; co'/>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <driver type='qcow2'/>
      <source file='/s/o&apos;1.qcow2'/>
    </disk>
    <disk name='vdb' snapshot='no'/>
    <disk name='sda' snapshot='no'/>
  </disks>
</domainsnapshot>
";
    assert_eq!(build_request(&request(), &domain(" id='1'")).unwrap().to_string(), expected);
    let unknown = SnapshotRequest { disks: vec![("vdz".to_string(), None)], ..request() };
    assert_eq!(build_request(&unknown, &domain("")).unwrap_err().message, "the domain has no disk `vdz`");
}

#[test]
fn an_internal_request_holds_the_ram_of_a_running_domain_alone() {
    let request = SnapshotRequest {
        comment: String::new(),
        kind: SnapshotKind::Internal,
        disks: vec![("vda".to_string(), None)],
        memory: None,
        ..request()
    };
    let expected = "\
<domainsnapshot>
  <name>a &amp; b</name>
  <memory snapshot='internal'/>
  <disks>
    <disk name='vda' snapshot='internal'/>
    <disk name='vdb' snapshot='no'/>
    <disk name='sda' snapshot='no'/>
  </disks>
</domainsnapshot>
";
    assert_eq!(build_request(&request, &domain(" id='1'")).unwrap().to_string(), expected);
    let off = build_request(&request, &domain("")).unwrap().to_string();
    assert_eq!(off, expected.replace("<memory snapshot='internal'/>", "<memory snapshot='no'/>"));
}

#[test]
fn a_snapshot_gets_another_parent_and_stays_as_it_is() {
    let before = "\
<domainsnapshot>
  <name>s</name>
  <parent>
    <name>old</name>
  </parent>
  <cookie>
    <slirpHelper/>
  </cookie>
</domainsnapshot>
";
    let document = Document(before.to_string());
    let after = reparent(&document, Some("<new>")).unwrap().to_string();
    assert_eq!(after, before.replace("old", "&lt;new&gt;"));
    let root = reparent(&document, None).unwrap();
    assert_eq!(root.find("parent"), None);
    let again = reparent(&Document(root.to_string()), Some("old")).unwrap();
    assert_eq!(read(&Document(again.to_string())).unwrap().parent.as_deref(), Some("old"));
}

#[test]
fn a_disk_that_the_domain_does_not_have_is_an_error() {
    let mut spec = spec();
    spec.disks[0].target = "vdb".to_string();
    assert_eq!(build(&spec, "vm", "2").unwrap_err().message, "the domain has no disk `vdb`");
}

#[test]
fn an_overlay_that_is_asked_for_as_something_else_is_refused() {
    let wanted =
        |disk: &str| read(&Document(format!("<domainsnapshot><name>s</name><disks>{disk}</disks></domainsnapshot>")));
    let plain = "<disk name='vda' snapshot='external'><driver type='qcow2'/><source file='/o'/></disk>";
    assert_eq!(wanted(plain).unwrap().disks[0].overlay.as_deref(), Some(std::path::Path::new("/o")));
    let error = wanted("<disk name='vda' snapshot='external' type='block'><source dev='/dev/x'/></disk>").unwrap_err();
    assert_eq!(
        error.to_string(),
        "disk `vda` cannot have that overlay: it is to be qcow2 of the type block, and snaptree makes qcow2 files\n\
         hint: leave `type` and `<driver>` out of its `<disk>`"
    );
    assert!(wanted(&plain.replace("qcow2", "qed")).is_err());
}
