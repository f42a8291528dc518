//! A snapshot's XML: built to be put into a tree, read for what it says.

use crate::error::{Error, Result};
use crate::hypervisor::{DomainDocument, Snapshot, SnapshotSpec};
use crate::libvirt::xml::Element;
use crate::libvirt::{domain_xml, metadata_xml};

/// Builds the `<domainsnapshot>` that puts a snapshot into the tree of the domain with this name and uuid.
pub fn build(spec: &SnapshotSpec, name: &str, uuid: &str) -> Result<Element> {
    let text = |name: &str, text: &str| Element::new(name).text(text);
    let mut domain = domain_xml::parse(&spec.document)?;
    domain_xml::clean(&mut domain);
    domain_xml::identify(&mut domain, name, uuid);
    let layers = spec.disks.iter().map(|disk| (disk.target.clone(), disk.layer.clone())).collect();
    domain_xml::replace_disks(&mut domain, &layers)?;
    metadata_xml::put(&mut domain, &spec.metadata)?;

    let mut snapshot = Element::new("domainsnapshot").child(text("name", &spec.name));
    if !spec.comment.is_empty() {
        snapshot.children.push(text("description", &spec.comment));
    }
    snapshot.children.push(text("state", "shutoff"));
    snapshot.children.extend(spec.parent.as_ref().map(|parent| Element::new("parent").child(text("name", parent))));
    let disks = disks(spec, &domain);
    Ok(snapshot
        .child(text("creationTime", &spec.created.to_string()))
        .child(Element::new("memory").with("snapshot", "no"))
        .child(disks)
        .child(domain))
}

/// Lists every disk of the domain, for libvirt would snapshot one that is not listed.
fn disks(spec: &SnapshotSpec, domain: &Element) -> Element {
    let devices = domain.find("devices");
    let targets = devices.into_iter().flat_map(|devices| devices.all("disk")).filter_map(domain_xml::target);
    Element::new("disks").children(targets.map(|target| {
        let disk = Element::new("disk").with("name", target);
        match spec.disks.iter().find(|disk| disk.target == target) {
            Some(state) => disk
                .with("snapshot", "external")
                .with("type", "file")
                .child(Element::new("driver").with("type", "qcow2"))
                .child(Element::new("source").with("file", state.overlay.to_string_lossy())),
            None => disk.with("snapshot", "no"),
        }
    }))
}

/// Reads a snapshot. Whether it is the current one is not in its XML.
pub fn read(xml: &str, is_current: bool) -> Result<Snapshot> {
    let snapshot =
        Element::parse(xml).map_err(|cause| Error::failed("cannot read a snapshot's document").cause(cause))?;
    let domain = snapshot.find("domain");
    let text = |name: &str| snapshot.text_of(name).unwrap_or_default().to_string();
    let parent = snapshot.find("parent").and_then(|parent| parent.text_of("name"));
    let external = snapshot.find("disks").into_iter().flat_map(|disks| disks.all("disk"));
    let overlays = external
        .filter(|disk| disk.get("snapshot") == Some("external"))
        .filter_map(|disk| Some(disk.find("source")?.get("file")?.into()));
    Ok(Snapshot {
        name: text("name"),
        parent: parent.map(str::to_string),
        comment: text("description"),
        created: text("creationTime").parse().unwrap_or_default(),
        state: text("state"),
        is_current,
        document: DomainDocument(domain.map(Element::to_string).unwrap_or_default()),
        layers: domain.map(domain_xml::disks).unwrap_or_default(),
        overlays: overlays.collect(),
        metadata: domain.map_or(Ok(None), metadata_xml::read)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hypervisor::{DiskState, Metadata};

    fn spec() -> SnapshotSpec {
        SnapshotSpec {
            name: "after 'a' <b> & \"日本\"".to_string(),
            parent: Some("sn01 & co".to_string()),
            comment: "fresh <install>".to_string(),
            created: 1_795_384_316,
            current: true,
            document: DomainDocument(
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
        let snapshot = read(&build(&spec, "vm", "2").unwrap().to_string(), true).unwrap();
        assert_eq!(snapshot.name, spec.name);
        assert_eq!(snapshot.parent, spec.parent);
        assert_eq!(snapshot.comment, spec.comment);
        assert_eq!(snapshot.created, spec.created);
        assert_eq!(snapshot.state, "shutoff");
        assert!(snapshot.is_current);
        let layers = [("vda".to_string(), "/s/l'1.qcow2".into()), ("sda".to_string(), "/a.iso".into())];
        assert_eq!(snapshot.layers, layers);
        assert_eq!(snapshot.overlays, [std::path::PathBuf::from("/s/o1.qcow2")]);
        assert_eq!(snapshot.metadata, Some(spec.metadata));
        assert!(snapshot.document.0.starts_with("<domain type='qemu'"));
    }

    #[test]
    fn a_disk_that_the_domain_does_not_have_is_an_error() {
        let mut spec = spec();
        spec.disks[0].target = "vdb".to_string();
        assert_eq!(build(&spec, "vm", "2").unwrap_err().message, "the domain has no disk `vdb`");
    }
}
