//! Backing chains, and the limit on their depth.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Image};
use crate::stop::Stop;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::machine::time_limits::FLATTEN_LIMIT;

/// The most images in a chain. Reads get slower with each, and libvirt 11.3 does not start a domain with more than 25.
pub const DEEPEST: usize = 16;

/// Counts the images in a chain, the first one included.
pub fn depth(engine: &Engine, image: &Image) -> Result<usize> {
    Ok(1 + engine.hypervisor.backing_chain(image)?.len())
}

/// Makes a file that begins as a copy of `layer`: an overlay, or a full copy if the chain would get too deep.
pub fn overlay_or_copy(engine: &Engine, layer: &Image, file: &Path) -> Result<()> {
    if depth(engine, layer)? < DEEPEST {
        engine.hypervisor.create_overlay(file, layer)
    } else {
        engine.hypervisor.copy_image(layer, file, None)
    }
}

/// Lists the disks whose chain a snapshot would make too deep; refuses one that must not be flattened.
pub fn too_deep<'a>(engine: &Engine, machine: &Machine, disks: &'a [DiskFile]) -> Result<Vec<&'a DiskFile>> {
    let mut deep = Vec::new();
    for disk in disks {
        if depth(engine, &disk.image())? < DEEPEST {
            continue;
        }
        if let Some(holder) = machine.holder_of(&disk.file) {
            return Err(Error::failed(format!("the backing chain of `{}` cannot get any deeper", disk.target))
                .cause(format!("it has {DEEPEST} images, and `{holder}` is inside the last one"))
                .hint(format!("revert to `{holder}` or delete it, or take a snapshot nearer to the root")));
        }
        deep.push(disk);
    }
    Ok(deep)
}

/// Flattens a machine's own disks if a snapshot would make their chain too deep.
pub fn shorten(engine: &Engine, machine: &Machine, disks: &[DiskFile]) -> Result<()> {
    for disk in too_deep(engine, machine, disks)? {
        engine.events.note(format!(
            "the backing chain of `{}` in `{}` has {DEEPEST} images: copying it into one",
            disk.target, machine.name
        ));
        if machine.is_active() {
            let stop = Stop::after(FLATTEN_LIMIT, &engine.interrupt);
            engine.hypervisor.pull(machine.name.as_str(), &disk.target, &stop)?;
        } else {
            engine.hypervisor.flatten(&disk.file)?;
        }
    }
    Ok(())
}
