//! A machine's present state: how it is saved, and how it is restored.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hypervisor::{Frozen, MappedMemory, Ram, Saved, Start};
use crate::shell;
use crate::tree::clone::ram::wake_guest;
use crate::tree::graft::redefine::redefine;
use crate::tree::kept::machine_state::{BackingFile, MachineState, NextGuest, NextState};
use crate::tree::kept::restores::count_restore;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;

/// Describes a machine's present state. The RAM of a running guest is given a file name, but not saved yet.
pub fn present(engine: &Engine, machine: &Machine) -> Result<MachineState> {
    let memory = match machine.is_active().then(|| machine.why_no_memory()) {
        Some(None) => Some(engine.store.new_file(&machine.directory, "present", "ram")?),
        Some(Some(why)) => {
            engine.events.note(format!("the RAM of `{}` cannot be kept: {why}", machine.name));
            for disk in machine.running_only() {
                let target = &disk.target;
                engine.events.note(format!(
                    "`undo` will not attach disk `{target}` again: `{}` does not start with it",
                    machine.name
                ));
            }
            None
        }
        None => None,
    };
    let mut below = Vec::new();
    for disk in machine.written_disks() {
        // For an unreadable file, such as a disk that no snapshot can hold, a change could not be detected anyway.
        let chain = engine.hypervisor.backing_chain(&disk.image()).unwrap_or_default();
        below.extend(chain.into_iter().filter_map(|image| BackingFile::of(image.file)));
    }
    Ok(MachineState {
        below,
        document: machine.details.document.clone(),
        disks: machine.written_disks(),
        state: machine.details.domain.state,
        memory,
        current: machine.current().map(|node| node.name().to_string()),
    })
}

/// Stops a machine, and keeps its RAM according to `state`.
pub fn leave(engine: &Engine, machine: &Machine, state: &MachineState) -> Result<()> {
    match &state.memory {
        Some(memory) => match engine.hypervisor.save(machine.name.as_str(), memory)? {
            Saved::Written => Ok(()),
            Saved::AsBefore => {
                engine.hypervisor.copy_ram(saved_ram(machine)?, memory)?;
                engine.hypervisor.destroy(machine.name.as_str())
            }
        },
        None if machine.is_active() => engine.hypervisor.destroy(machine.name.as_str()),
        None => Ok(()),
    }
}

/// Brings a shut-off machine to its target state.
pub fn enter(engine: &Engine, machine: &Machine, target: &NextState) -> Result<()> {
    let name = machine.name.as_str();
    engine.hypervisor.redefine(name, &target.document, &machine.details.document, &target.disks)?;
    if let Some(node) = target.current.as_deref().and_then(|current| machine.nearest_to(current)) {
        let snapshot = &node.snapshot;
        redefine(engine, machine, snapshot, snapshot.parent.as_deref(), true)?;
    }
    match &target.guest {
        NextGuest::Off => Ok(()),
        NextGuest::Boot { start, attached } if attached.is_empty() => engine.hypervisor.start(name, *start),
        NextGuest::Boot { start, attached } => {
            engine.hypervisor.start(name, Start { paused: true, ..*start })?;
            attached.iter().try_for_each(|disk| engine.hypervisor.attach(name, &target.document, disk))?;
            if start.paused { Ok(()) } else { engine.hypervisor.resume(name) }
        }
        NextGuest::Resume { memory, paused } => engine.hypervisor.restore(memory, &target.disks, *paused),
        NextGuest::Wake { memory: MappedMemory { ram, devices }, paused } => {
            let (ram, from) = (Ram::Private(ram.clone()), Frozen::Devices(devices.clone()));
            engine.hypervisor.wake(name, &ram, &from, *paused)?;
            let clock = !*paused && wake_guest(engine, name);
            if let Some(node) = target.current.as_deref().and_then(|current| machine.node(current)) {
                let generation = engine.hypervisor.has_generation_id(&target.document)?;
                count_restore(&machine.directory, node, |restores| restores.add(clock, generation));
            }
            Ok(())
        }
    }
}

/// Restores a state after leaving it failed, however far that got.
pub fn return_to(engine: &Engine, machine: &Machine, state: &MachineState) -> Result<()> {
    let name = machine.name.as_str();
    let now = engine.existing_now(&machine.name)?;
    let was_left = !(now.is_active() && now.written_disks() == state.disks);
    if was_left {
        if now.is_active() {
            engine.hypervisor.destroy(name)?;
        }
        enter_again(engine, &now, state)?;
    }
    if let Some(memory) = &state.memory {
        let _ = std::fs::remove_file(memory);
    }
    Ok(())
}

fn enter_again(engine: &Engine, machine: &Machine, state: &MachineState) -> Result<()> {
    let mut target = state.target();
    if let NextGuest::Resume { memory, .. } = &target.guest
        && !memory.exists()
    {
        target.guest = NextGuest::Off;
    }
    enter(engine, machine, &target).map_err(|error| {
        Error::failed(format!("`{}` could not be brought back to what it was", machine.name))
            .cause(error)
            .hint(format!("`snaptree undo {}` tries it again", shell::last(&machine.name)))
    })
}

/// Returns the file with the RAM of a guest that has been paused since the current snapshot was taken: its disks are
/// still the overlays of that snapshot.
fn saved_ram(machine: &Machine) -> Result<&Path> {
    let began = |node: &&Node| {
        let overlays: Vec<&Path> = node.snapshot.overlays().collect();
        machine.written_disks().iter().all(|disk| overlays.contains(&disk.file.as_path()))
    };
    machine.current().filter(began).and_then(|node| node.snapshot.memory_file()).ok_or_else(|| {
        Error::failed(format!("cannot save the RAM of `{}` again", machine.name))
            .cause("it was saved before, and the guest has been paused since")
            .hint(format!(
                "let it run for a moment: `virsh resume {0}`, then `virsh suspend {0}`",
                shell::last(&machine.name)
            ))
    })
}
