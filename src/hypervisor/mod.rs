//! The port to whatever runs domains: traits and plain data, named in libvirt's terms.
//!
//! Two adapters stand behind it: [`crate::libvirt`] and [`crate::fake`]. Creating a domain ([`Hypervisor`]) and
//! operating the system inside one ([`Guest`]) are separate traits.

mod console;
mod domain;
mod guest;
mod live;
mod neighbour;
mod reaping;
mod snapshot;

use std::path::{Path, PathBuf};

pub use console::Console;
pub use domain::{
    Accelerator, Boot, Clone, Disk, DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec, DomainState,
    Firmware, Image, Metadata, Network, Saved, Source, Start, Version,
};
pub use guest::{Command, CommandLine, Exit, FileMode, Guest, Input, Stream, UnitState};
pub use live::{CatchUp, Fingerprint, Frozen, Liveness, Ram};
pub use neighbour::{Neighbour, Neighbours};
pub use reaping::{Promptness, Reaping};
pub use snapshot::{
    DiskState, MappedMemory, Memory, RevertFlags, Snapshot, SnapshotDisk, SnapshotFlags, SnapshotKind, SnapshotRequest,
    SnapshotSpec,
};

use crate::error::Result;
use crate::stop::Stop;

/// A connection to a hypervisor. Every call blocks; several threads may call at once.
pub trait Hypervisor: Send + Sync {
    /// Returns the connection URI, as `virsh uri` prints it.
    fn uri(&self) -> String;

    /// Opens a connection anew that was lost; one that is alive is left alone (`virConnectIsAlive`).
    fn revive(&self) -> Result<()> {
        Ok(())
    }

    /// Returns libvirt's version (`virConnectGetLibVersion`).
    fn version(&self) -> Result<Version>;

    /// Says whether guest code runs under KVM here, and if not, why.
    fn accelerator(&self) -> Result<Accelerator>;

    /// Says that no guest ever boots here, so images need not exist.
    fn is_simulated(&self) -> bool;

    /// Lists every domain, running or not (`virConnectListAllDomains`).
    fn domains(&self) -> Result<Vec<Domain>>;

    /// Looks one domain up by name (`virDomainLookupByName`).
    fn domain(&self, name: &str) -> Result<Option<DomainDetails>>;

    /// Returns a domain's description as `virsh dumpxml` prints it: while it runs, with all that belongs to this run.
    fn live_document(&self, name: &str) -> Result<Document>;

    /// Lists the images of a domain's disks, the ones that it has now and the ones that it will start with.
    fn disk_images(&self, name: &str) -> Result<Vec<Image>>;

    /// Defines a persistent domain, or defines it anew under its uuid (`virDomainDefineXMLFlags`).
    fn define(&self, spec: &DomainSpec) -> Result<()>;

    /// Defines a domain anew after `document`, which may be one of its snapshots': it keeps the name, the uuid, the title,
    /// the description and the metadata that it has in `now`, and its disks change as `disks` says
    /// (`virDomainDefineXMLFlags`).
    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()>;

    /// Stops a domain if it runs and removes it with the metadata of its snapshots (`virDomainUndefineFlags`).
    fn undefine(&self, name: &str) -> Result<()>;

    /// Lists the snapshots of a domain with their documents (`virDomainListAllSnapshots`).
    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>>;

    /// Lists the names of the snapshots of a domain, without their documents.
    fn snapshot_names(&self, domain: &str) -> Result<Vec<String>> {
        Ok(self.snapshots(domain)?.into_iter().map(|snapshot| snapshot.name).collect())
    }

    /// Reads a snapshot's document that somebody wrote.
    fn read_snapshot(&self, document: &Document) -> Result<Snapshot>;

    /// Returns a snapshot's document with another comment.
    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document>;

    /// Takes a snapshot (`virDomainSnapshotCreateXML`).
    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()>;

    /// Goes back to an internal snapshot (`virDomainRevertToSnapshot`).
    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()>;

    /// Removes an internal snapshot and what it holds (`virDomainSnapshotDelete`); its children move to its parent.
    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()>;

    /// Puts a snapshot that was read before into a domain's tree again, or replaces it there, below `parent` and
    /// otherwise as its document says (`virDomainSnapshotCreateXML` with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`).
    ///
    /// `current` makes it the current one. The overlays that it names are the files that the domain's disks have then:
    /// libvirt's own revert removes the overlays of the current snapshot, whoever stands on them.
    fn put_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()>;

    /// Puts a snapshot into a domain's tree by metadata alone, replacing one of the same name
    /// (`virDomainSnapshotCreateXML` with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`).
    fn redefine_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()>;

    /// Removes a snapshot from the tree and nothing else; its children move to its parent
    /// (`virDomainSnapshotDelete` with `VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY`).
    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()>;

    /// Says how soon a QEMU that has ended is reaped; nothing where there is none.
    fn reaping(&self) -> Option<Reaping> {
        None
    }

    /// Names the program that runs guests, with its version.
    fn emulator(&self) -> Result<String>;

    /// Says how the RAM of clones of the domain in `document`, or of an ordinary one, can be kept in a directory.
    fn liveness(&self, document: Option<&Document>, directory: &Path) -> Result<Liveness>;

    /// Says what the state of a guest in the domain in `document` fits, were it frozen now.
    fn fingerprint(&self, document: &Document) -> Result<Fingerprint>;

    /// Says whether each clone of the domain in `document` gets a generation id of its own (`<genid>`).
    fn has_generation_id(&self, document: &Document) -> Result<bool>;

    /// Says how much of the host's memory a running domain does not share with others, in bytes: what its QEMU has
    /// written to, apart from files. Nothing is known of another host's.
    fn own_memory(&self, name: &str) -> Result<Option<u64>>;

    /// Says what keeps a clone from being made of the domain in `document`: something that only one domain can have.
    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>>;

    /// Says the same of a machine that is to have these devices, as the user wrote them.
    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>>;

    /// Starts a transient domain made from another one's document (`virDomainCreateXML`), whose guest boots or goes on
    /// from a frozen state.
    fn start_clone(&self, clone: &Clone) -> Result<()>;

    /// Starts a domain that is shut off, whose guest goes on from a frozen state. The next start is an ordinary one.
    fn wake(&self, name: &str, ram: &Ram, from: &Frozen, paused: bool) -> Result<()>;

    /// Writes the state of a clone whose processors stand still into a file (QMP `migrate`, or `virDomainSaveFlags`,
    /// after which the domain is gone).
    fn freeze(&self, name: &str, state: &Frozen) -> Result<()>;

    /// Writes the whole state of a running clone into a file, most of it while its guest runs on. `meanwhile` is done when
    /// the processors stand still, before the rest is written (QMP `migrate` with `pause-before-switchover`); then they
    /// wait for `resume`.
    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()>;

    /// Copies a file with a guest's RAM, sharing blocks where the file system can and leaving holes where it cannot.
    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()>;

    /// Copies the file in which a running guest has its RAM; the copy is to catch up when the guest stands still.
    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp>;

    /// Lets a port of 127.0.0.1 lead to a TCP port of the guest, for as long as the domain is there (`hostfwd_add`).
    /// Returns the host's port.
    fn forward(&self, name: &str, guest_port: u16) -> Result<u16>;

    /// Starts a domain that is shut off (`virDomainCreateWithFlags`).
    fn start(&self, name: &str, start: Start) -> Result<()>;

    /// Attaches a disk to a running domain for this run alone: one with this file, otherwise as the running domain in
    /// `document` had it (`virDomainAttachDeviceFlags`).
    fn attach(&self, name: &str, document: &Document, disk: &DiskFile) -> Result<()>;

    /// Asks the guest to power off cleanly; does not wait for it (`virDomainShutdown`).
    fn shutdown(&self, name: &str) -> Result<()>;

    /// Stops the guest's processors (`virDomainSuspend`).
    fn suspend(&self, name: &str) -> Result<()>;

    /// Lets them go on (`virDomainResume`).
    fn resume(&self, name: &str) -> Result<()>;

    /// Writes a running domain's RAM into a file and stops it (`virDomainSaveFlags`). When that fails, it runs on. QEMU saves
    /// no guest twice that has stood still since; then nothing is done, and this says so.
    fn save(&self, name: &str, file: &Path) -> Result<Saved>;

    /// Starts the domain whose RAM a file holds, on these disks (`virDomainRestoreFlags`). The file stays.
    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()>;

    /// Takes a picture of the first screen: its MIME type and its bytes (`virDomainScreenshot`).
    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)>;

    /// Copies what a running domain's disk stands on into the disk's own file, which then stands alone
    /// (`virDomainBlockPull`).
    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()>;

    /// Stops a domain at once, like pulling the plug (`virDomainDestroy`). A domain that is gone is no error.
    fn destroy(&self, name: &str) -> Result<()>;

    /// Opens the system inside a running domain; does not wait for it to answer.
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>>;

    /// Opens the console of a running domain (`virDomainOpenConsole`), which one session has at a time.
    fn console(&self, domain: &str) -> Result<Box<dyn Console>>;

    /// Waits until a transient domain has gone, after its guest was told to shut down.
    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()>;

    /// Lists the backing images of `image`, without itself (`qemu-img info --backing-chain`).
    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>>;

    /// Lists the files that the image in a file depends on directly, whatever its format: backing file, data file and
    /// extents. Unlike `backing_chain` this asks the content, which a guest may have written: it tells what must be
    /// kept, and not what may be opened. A file that is gone or no image depends on nothing.
    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>>;

    /// Lists the files that a document names, wherever in it, with those of volumes.
    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>>;

    /// Lists the domains of the other connections to this host that can be seen without starting anything.
    fn neighbours(&self) -> Neighbours;

    /// Returns the file beside a qcow2 image that has its data (`data_file`).
    fn data_file(&self, image: &Image) -> Result<Option<PathBuf>>;

    /// Creates an empty qcow2 `overlay` on the image `backing` (`qemu-img create -b -F`).
    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()>;

    /// Copies an image into a qcow2 file of its own (`qemu-img convert -f`), which the guest sees with `size` bytes where
    /// that is given (`qemu-img resize`).
    fn copy_image(&self, from: &Image, to: &Path, size: Option<u64>) -> Result<()>;

    /// Copies the disk as an internal snapshot holds it into a qcow2 file of its own (`qemu-img convert -l`).
    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()>;

    /// Counts the internal snapshots of this name in an image (`qemu-img snapshot -l`).
    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize>;

    /// Copies what an image that no guest uses stands on into it, which then stands alone (`qemu-img rebase -b ''`).
    fn flatten(&self, image: &Path) -> Result<()>;
}
