//! Proof that guests can have their RAM in a file and resume from their frozen state.
//!
//! libvirt may refuse arguments for QEMU, a security driver may forbid the file, and QEMU may lack a feature. So a
//! domain without a system is frozen, and another one is resumed from its state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use virt::connect::Connect;

use crate::error::{Because, Result};
use crate::hypervisor::{Frozen, Liveness, Ram};
use crate::libvirt::domain::power;
use crate::libvirt::fault;
use crate::libvirt::host::kvm;
use crate::libvirt::memory::live::{self, Owner};
use crate::libvirt::xml::domain_xml::DomainType;
use crate::libvirt::xml::element::Element;

/// What an answer is cached for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub boot_id: String,
    pub uri: String,
    pub emulator: String,
    /// libvirt's version and QEMU's.
    pub versions: [u64; 2],
    pub directory: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    question: Question,
    liveness: Liveness,
}

/// Says how guests can have their RAM kept in `directory`; the answer is stored in `cache`. `forget` is called with the
/// names of domains that are gone for good.
pub fn liveness(
    connect: &Connect,
    question: Question,
    cache: &Path,
    owner: Option<Owner>,
    kind: DomainType,
    forget: &dyn Fn(&str),
) -> Result<Liveness> {
    let file = cache.join("live.json");
    let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
    if let Some(known) = known.filter(|known| known.question == question) {
        return Ok(known.liveness);
    }
    let liveness = match attempt(connect, &question, owner, kind, forget) {
        Ok(()) => Liveness::Mapped,
        Err(error) => {
            let error = error.causes.last().cloned().unwrap_or(error.message);
            Liveness::Saved(error)
        }
    };
    let answer = Answer { question, liveness };
    kvm::remember(&file, &answer);
    Ok(answer.liveness)
}

/// Freezes a domain and resumes another one from that.
fn attempt(
    connect: &Connect,
    question: &Question,
    owner: Option<Owner>,
    kind: DomainType,
    forget: &dyn Fn(&str),
) -> Result<()> {
    let cannot = || format!("cannot make files in `{}`", question.directory.display());
    crate::paths::make_passable(&question.directory).because(cannot)?;
    // The lock ends with its process, so whatever is found now was left by one that was killed.
    let turn = File::open(&question.directory).because(cannot)?;
    turn.lock().because(cannot)?;
    let names = names(&question.directory);
    for name in &names {
        let _ = connect.lookup_domain_by_name(name).map(|left| power::destroy(&left, name));
    }
    let directory = question.directory.join("trial");
    clear(&directory);
    fs::create_dir_all(&directory).because(cannot)?;
    let reachable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(&directory, reachable).because(cannot)?;
    let [ram, devices] = FILES.map(|name| directory.join(name));
    let begin = |name: &str, ram: Ram, from: Option<&Frozen>| {
        live::start(connect, name, domain(name, &question.emulator, kind), &ram, from, true, owner)?;
        connect.lookup_domain_by_name(name).map_err(|error| fault::failed("the trial's domain is gone", &error))
    };
    let [first, second] = &names;
    let state = Frozen::Devices(devices);
    let tried = begin(first, Ram::Shared(ram.clone()), None).and_then(|domain| {
        let frozen = live::freeze(&domain, first, &state, owner);
        power::destroy(&domain, first).and(frozen)
    });
    let tried = tried.and_then(|()| begin(second, Ram::Private(ram), Some(&state)));
    let tried = tried.and_then(|domain| power::destroy(&domain, second));
    names.iter().for_each(|name| forget(name));
    // Leftovers say nothing about the question.
    clear(&directory);
    tried
}

/// Removes the files of a trial, and its directory unless there is something else in it.
fn clear(directory: &Path) {
    FILES.iter().for_each(|name| drop(fs::remove_file(directory.join(name))));
    let _ = fs::remove_dir(directory);
}

/// The RAM and the state of the devices.
const FILES: [&str; 2] = ["ram", "devices"];

/// Names the domains of a trial in a directory; by these names the next trial there finds what a killed one left.
pub fn names(directory: &Path) -> [String; 2] {
    let digest = blake3::hash(directory.as_os_str().as_encoded_bytes()).to_hex();
    ["a", "b"].map(|which| format!("snaptree-trial-{}-{which}", &digest[..12]))
}

fn domain(name: &str, emulator: &str, kind: DomainType) -> Element {
    let text = |name: &str, text: &str| Element::new(name).text(text);
    let os_type = text("type", "hvm").with("arch", "x86_64").with("machine", "q35");
    let controller = Element::new("controller").with("type", "usb").with("model", "none");
    let balloon = Element::new("memballoon").with("model", "none");
    Element::new("domain").with("type", kind.word()).children([
        text("name", name),
        text("uuid", &uuid::Uuid::new_v4().to_string()),
        text("memory", "16384").with("unit", "KiB"),
        text("vcpu", "1"),
        Element::new("os").child(os_type),
        Element::new("devices").children([text("emulator", emulator), controller, balloon]),
    ])
}
