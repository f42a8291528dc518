//! A snapshot's XML: built to be put into a tree, read for what it says.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::{
    Disk, Document, MappedMemory, Memory, Metadata, Snapshot, SnapshotDisk, SnapshotKind, SnapshotRequest,
    SnapshotSpec, Source,
};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{disk_xml, domain_facts, domain_xml, metadata_xml};
use crate::paths::for_libvirt;

/// Where the metadata names the files of a guest whose RAM was in one, and the layer that it was running on: a snapshot
/// that another tool takes later may inherit them, and does not have that layer.
const RAM: &str = "live.ram";
const DEVICES: &str = "live.devices";
const LAYER: &str = "live.layer";

/// Builds the `<domainsnapshot>` that puts a snapshot into the tree of the domain with this name and uuid.
pub fn build(spec: &SnapshotSpec, name: &str, uuid: &str) -> Result<Element> {
    let mut domain = domain_xml::parse(&spec.document)?;
    domain_xml::clean(&mut domain);
    domain_xml::identify(&mut domain, name, uuid);
    let layers: Vec<_> = spec.disks.iter().map(|disk| disk_xml::qcow2(&disk.target, &disk.layer)).collect();
    disk_xml::replace_disks(&mut domain, &layers)?;
    let mut metadata = spec.metadata.clone();
    if let (Memory::Mapped(mapped), Some(layer)) = (&spec.memory, layers.first()) {
        for (name, file) in [(RAM, &mapped.ram), (DEVICES, &mapped.devices), (LAYER, &layer.file)] {
            metadata.attributes.insert(name.to_string(), for_libvirt(file)?.to_string());
        }
    }
    metadata_xml::put(&mut domain, &metadata)?;
    let (memory, state) = (Element::new("memory"), Element::new("state"));
    let (memory, state) = match &spec.memory {
        Memory::External(image) => {
            (memory.with("snapshot", "external").with("file", for_libvirt(image)?), state.text("running"))
        }
        Memory::No | Memory::Internal | Memory::Mapped(_) => (memory.with("snapshot", "no"), state.text("shutoff")),
    };

    let overlay =
        |target: &str| spec.disks.iter().find(|disk| disk.target == target).map(|disk| disk.overlay.as_path());
    let disks = list_disks(&domain, |disk| match overlay(disk.get("name").unwrap_or_default()) {
        Some(overlay) => external(disk, Some(overlay)),
        None => Ok(disk.with("snapshot", "no")),
    })?;
    Ok(begin(&spec.name, &spec.comment)
        .child(state)
        .children(spec.parent.as_deref().map(parent_element))
        .child(Element::new("creationTime").text(spec.created.to_string()))
        .child(memory)
        .child(disks)
        .child(domain))
}

/// Builds the `<domainsnapshot>` that requests a snapshot of `domain`, which is the domain's description as it runs.
pub fn build_request(request: &SnapshotRequest, domain: &Element) -> Result<Element> {
    let has = |target: &str| targets(domain).any(|other| other == target);
    if let Some((missing, _)) = request.disks.iter().find(|(target, _)| !has(target)) {
        return Err(disk_xml::no_disk(missing));
    }
    let is_active = domain.get("id").is_some();
    let memory = Element::new("memory");
    let memory = match (&request.memory, request.kind) {
        (Some(file), _) => memory.with("snapshot", "external").with("file", for_libvirt(file)?),
        // A domain that is shut off has no RAM, and libvirt refuses a request for it.
        (None, SnapshotKind::Internal) if is_active && !request.flags.disk_only => memory.with("snapshot", "internal"),
        (None, _) => memory.with("snapshot", "no"),
    };
    let disks = list_disks(domain, |disk| {
        let asked = request.disks.iter().find(|(target, _)| Some(target.as_str()) == disk.get("name"));
        match (asked, request.kind) {
            (None, _) => Ok(disk.with("snapshot", "no")),
            (Some(_), SnapshotKind::Internal) => Ok(disk.with("snapshot", "internal")),
            (Some((_, overlay)), SnapshotKind::External) => external(disk, overlay.as_deref()),
        }
    })?;
    Ok(begin(&request.name, &request.comment).child(memory).child(disks))
}

/// Returns a snapshot's document with another parent.
pub fn reparent(document: &Document, parent: Option<&str>) -> Result<Element> {
    let mut snapshot = parse(document)?;
    match parent {
        Some(parent) => snapshot.put(parent_element(parent)),
        None => snapshot.remove(&["parent"]),
    }
    Ok(snapshot)
}

/// Names the present files of a domain's disks as the overlays of an external snapshot, except for its own layers.
pub fn replace_overlays(snapshot: &mut Element, present: &[Disk]) {
    let layers = snapshot.find("domain").map(domain_facts::disks).unwrap_or_default();
    let states = snapshot.find_mut("disks").into_iter().flat_map(|disks| disks.children.iter_mut());
    for state in states.filter(|state| kind(state) == Some(SnapshotKind::External)) {
        let Some(disk) = present.iter().find(|disk| Some(disk.target.as_str()) == state.get("name")) else { continue };
        let is_layer = layers.iter().any(|layer| layer.file() == disk.file());
        if let Some(file) = disk.file().filter(|_| !is_layer) {
            state.put(Element::new("source").with("file", file.to_string_lossy()));
        }
    }
}

/// Returns a snapshot's document with another comment.
pub fn comment(document: &Document, comment: &str) -> Result<Element> {
    let mut snapshot = parse(document)?;
    match comment {
        "" => snapshot.remove(&["description"]),
        comment => snapshot.put(Element::new("description").text(comment)),
    }
    Ok(snapshot)
}

/// Lists the images that hold an internal snapshot: its disks, and its firmware's variables.
pub fn images(document: &Document) -> Result<Vec<PathBuf>> {
    let snapshot = read(document)?;
    let nvram = domain_xml::parse(document).ok().and_then(|domain| {
        let nvram = domain.find("os")?.find("nvram")?.clone();
        (nvram.get("format") == Some("qcow2")).then(|| PathBuf::from(nvram.text))
    });
    Ok(snapshot.layers().into_iter().map(|layer| layer.file).chain(nvram).collect())
}

fn begin(name: &str, comment: &str) -> Element {
    let description = (!comment.is_empty()).then(|| Element::new("description").text(comment));
    Element::new("domainsnapshot").child(Element::new("name").text(name)).children(description)
}

fn parent_element(name: &str) -> Element {
    Element::new("parent").child(Element::new("name").text(name))
}

/// Lists every disk of the domain, because libvirt would snapshot an unlisted one.
fn list_disks(domain: &Element, state: impl Fn(Element) -> Result<Element>) -> Result<Element> {
    let states = targets(domain).map(|target| state(Element::new("disk").with("name", target)));
    Ok(Element::new("disks").children(states.collect::<Result<Vec<_>>>()?))
}

fn targets(domain: &Element) -> impl Iterator<Item = &str> {
    let devices = domain.find("devices");
    devices.into_iter().flat_map(|devices| devices.all("disk")).filter_map(domain_facts::target)
}

/// Without an overlay libvirt chooses one.
fn external(disk: Element, overlay: Option<&Path>) -> Result<Element> {
    let path = overlay.map(for_libvirt).transpose()?;
    Ok(disk
        .with("snapshot", "external")
        .with("type", "file")
        .child(Element::new("driver").with("type", "qcow2"))
        .children(path.map(|path| Element::new("source").with("file", path))))
}

fn parse(document: &Document) -> Result<Element> {
    match Element::parse(&document.0) {
        Ok(snapshot) if snapshot.name == "domainsnapshot" => Ok(snapshot),
        Ok(other) => Err(Error::failed("cannot read a snapshot's document")
            .cause(format!("it is a `<{}>`", other.name))
            .hint("`virsh snapshot-dumpxml` shows what one looks like")),
        Err(cause) => Err(Error::failed("cannot read a snapshot's document")
            .cause(cause)
            .hint("`virsh snapshot-dumpxml` shows what one looks like")),
    }
}

/// Reads a snapshot. Whether it is the current one is not in its document.
pub fn read(document: &Document) -> Result<Snapshot> {
    let snapshot = parse(document)?;
    let domain = snapshot.find("domain");
    let text = |name: &str| snapshot.text_of(name).unwrap_or_default().to_string();
    let parent = snapshot.find("parent").and_then(|parent| parent.text_of("name"));
    let metadata = domain.map_or(Ok(None), metadata_xml::read)?;
    let disks = match (domain, snapshot.find("disks")) {
        (Some(domain), states) => disks(domain, snapshot.find("inactiveDomain"), states),
        (None, Some(states)) => wanted_disks(states)?,
        (None, None) => Vec::new(),
    };
    Ok(Snapshot {
        name: text("name"),
        parent: parent.map(str::to_string),
        comment: text("description"),
        created: text("creationTime").parse().unwrap_or_default(),
        state: text("state"),
        is_current: false,
        document: document.clone(),
        memory: mapped(metadata.as_ref(), &disks).map_or_else(|| memory(&snapshot), Memory::Mapped),
        disks,
        metadata,
    })
}

fn mapped(metadata: Option<&Metadata>, disks: &[SnapshotDisk]) -> Option<MappedMemory> {
    let file = |name: &str| metadata?.attributes.get(name).map(PathBuf::from);
    let layer = file(LAYER)?;
    let is_on_it = disks.iter().any(|disk| disk.kind.is_some() && disk.file.as_ref() == Some(&layer));
    is_on_it.then(|| Some(MappedMemory { ram: file(RAM)?, devices: file(DEVICES)? }))?
}

fn memory(snapshot: &Element) -> Memory {
    let Some(memory) = snapshot.find("memory") else {
        // Before 1.0.1 libvirt did not say, and knew internal snapshots and those of disks alone.
        let had_ram = matches!(snapshot.text_of("state"), Some("running" | "paused" | "blocked" | "pmsuspended"));
        return if had_ram { Memory::Internal } else { Memory::No };
    };
    match (memory.get("snapshot"), memory.get("file")) {
        (Some("internal"), _) => Memory::Internal,
        (Some("external"), Some(file)) => Memory::External(file.into()),
        _ => Memory::No,
    }
}

/// Lists the disks named in a document that requests a snapshot, and so has no domain in it.
fn wanted_disks(states: &Element) -> Result<Vec<SnapshotDisk>> {
    states.all("disk").filter(|state| kind(state) == Some(SnapshotKind::External)).try_for_each(is_plain_overlay)?;
    let describe = |state: &Element| {
        let kind = kind(state);
        Some(SnapshotDisk {
            target: state.get("name")?.to_string(),
            kind,
            is_written: kind.is_some(),
            file: None,
            format: String::new(),
            overlay: overlay(state),
            obstacle: None,
            is_running_only: false,
            is_optional: false,
        })
    };
    Ok(states.all("disk").filter_map(describe).collect())
}

/// Refuses a requested overlay that is not a qcow2 file.
fn is_plain_overlay(state: &Element) -> Result<()> {
    let format = state.find("driver").and_then(|driver| driver.get("type")).unwrap_or("qcow2");
    let kind = state.get("type").unwrap_or("file");
    if (format, kind) == ("qcow2", "file") {
        return Ok(());
    }
    let target = state.get("name").unwrap_or_default();
    Err(Error::failed(format!("disk `{target}` cannot have that overlay"))
        .cause(format!("it is to be {format} of the type {kind}, and snaptree makes qcow2 files"))
        .hint("leave `type` and `<driver>` out of its `<disk>`"))
}

fn kind(state: &Element) -> Option<SnapshotKind> {
    match state.get("snapshot") {
        Some("internal") => Some(SnapshotKind::Internal),
        Some("external") => Some(SnapshotKind::External),
        _ => None,
    }
}

fn overlay(state: &Element) -> Option<PathBuf> {
    let source = state.find("source").filter(|_| kind(state) == Some(SnapshotKind::External));
    source.and_then(|source| source.get("file")).map(Into::into)
}

fn disks(domain: &Element, next: Option<&Element>, states: Option<&Element>) -> Vec<SnapshotDisk> {
    let describe = |disk: Disk| {
        let is_written =
            matches!(disk.device.as_str(), "disk" | "lun") && !disk.is_read_only && disk.source != Source::None;
        let state =
            states.and_then(|states| states.all("disk").find(|state| state.get("name") == Some(disk.target.as_str())));
        let kind = match (states, state) {
            // Before 0.9.10 libvirt did not list the disks, and put all of them into their own files.
            (None, _) => is_written.then_some(SnapshotKind::Internal),
            (Some(_), state) => state.and_then(kind),
        };
        SnapshotDisk {
            file: disk.file().map(Path::to_path_buf),
            is_running_only: next.is_some_and(|next| disk_xml::find_disk(next, &disk.target).is_none()),
            target: disk.target,
            kind,
            is_written,
            format: disk.format,
            obstacle: disk.obstacle,
            is_optional: disk.is_optional,
            overlay: state.and_then(overlay),
        }
    };
    domain_facts::disks(domain).into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests;
