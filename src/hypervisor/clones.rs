//! Calls on clones and on frozen guests.

use std::path::Path;

use super::domain::{CloneSpec, Document};
use super::live::{CatchUp, Fingerprint, Frozen, Liveness, Ram};
use crate::error::Result;

/// Transient domains made from another domain's document, and guests resumed from a frozen state.
pub trait Clones: Send + Sync {
    /// Says how clones of the domain in `document`, or of an ordinary one, can have their RAM kept in a directory.
    fn liveness(&self, document: Option<&Document>, directory: &Path) -> Result<Liveness>;

    /// Returns the fingerprint that a guest of the domain in `document` would have if it were frozen now.
    fn fingerprint(&self, document: &Document) -> Result<Fingerprint>;

    /// Says whether each clone of the domain in `document` gets a generation id of its own (`<genid>`).
    fn has_generation_id(&self, document: &Document) -> Result<bool>;

    /// Says why the domain in `document` cannot be cloned: it has something that only one domain can have.
    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>>;

    /// Says the same of a machine with these devices, given as the user wrote them.
    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>>;

    /// Starts a transient domain made from another domain's document (`virDomainCreateXML`); its guest boots, or
    /// resumes from a frozen state.
    fn start_clone(&self, clone: &CloneSpec) -> Result<()>;

    /// Starts a domain that is shut off by resuming its guest from a frozen state. Its next start is an ordinary one.
    fn wake(&self, name: &str, ram: &Ram, from: &Frozen, paused: bool) -> Result<()>;

    /// Writes the state of a clone whose processors are stopped into a file (QMP `migrate`, or `virDomainSaveFlags`,
    /// after which the domain is gone).
    fn freeze(&self, name: &str, state: &Frozen) -> Result<()>;

    /// Writes the whole state of a running clone into a file, most of it while its guest keeps running. `meanwhile`
    /// runs once the processors are stopped, before the rest is written (QMP `migrate` with `pause-before-switchover`);
    /// then they wait for `resume`.
    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()>;

    /// Copies a file with a guest's RAM, sharing blocks where the file system can and leaving holes where it cannot.
    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()>;

    /// Copies the file that holds a running guest's RAM; the copy is to catch up once the guest is stopped.
    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp>;
}
