//! `machine:snapshot(name, options)`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlua::{UserDataMethods, Value};

use crate::error::{Because, Result};
use crate::hypervisor::{SnapshotFlags, SnapshotKind};
use crate::lua::handle::machine::Machine;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::value::options::{Options, Part};
use crate::name::SnapshotName;
use crate::tree;
use crate::tree::{DiskChoice, NewSnapshot};

const OPTIONS: [&str; 10] =
    ["comment", "disk_only", "atomic", "quiesce", "memory", "kind", "disks", "halt", "live", "reuse_external"];

pub fn add_methods<M: UserDataMethods<Machine>>(methods: &mut M) {
    methods.add_async_method("snapshot", |_, this, (name, options): (String, Value)| async move {
        let take = read(&Options::read("machine:snapshot", options, &OPTIONS)?)?;
        let name = SnapshotName::new(name)?;
        if this.domain.leaves_out("snapshot")? {
            return Ok(Snapshot::not_planned(&this.domain, name));
        }
        let wanted = name.clone();
        this.domain.blocking(move |engine, machine| tree::take_snapshot(engine, machine, &wanted, &take)).await?;
        Ok(Snapshot::found(&this.domain, name))
    });
}

fn read(options: &Options) -> Result<NewSnapshot> {
    let flags = SnapshotFlags {
        disk_only: options.flag("disk_only")?,
        atomic: options.flag("atomic")?,
        quiesce: options.flag("quiesce")?,
        halt: options.flag("halt")?,
        live: options.flag("live")?,
        reuse_external: options.flag("reuse_external")?,
    };
    let (memory, memory_file) = match options.part("memory")? {
        None => (None, None),
        Some(Part::No) => (Some(false), None),
        Some(Part::Yes) => (Some(true), None),
        Some(Part::File(file)) => (Some(true), Some(absolute(file)?)),
    };
    if flags.disk_only && memory == Some(true) {
        return Err(options.conflict("disk_only", "memory"));
    }
    if flags.disk_only && flags.live {
        return Err(options.conflict("disk_only", "live"));
    }
    let mut disks = BTreeMap::new();
    for (target, part) in options.parts("disks", "{ vda = true, vdb = false }")? {
        let choice = match part {
            Part::No => DiskChoice::LeaveOut,
            Part::Yes => DiskChoice::TakePart(None),
            Part::File(file) => DiskChoice::TakePart(Some(absolute(file)?)),
        };
        disks.insert(target, choice);
    }
    let comment = options.string("comment")?.unwrap_or_default();
    Ok(NewSnapshot { comment, kind: kind(options)?, memory, memory_file, disks, flags })
}

/// Reads the option `kind`.
pub fn kind(options: &Options) -> Result<Option<SnapshotKind>> {
    let kinds = [SnapshotKind::External, SnapshotKind::Internal];
    let chosen = options.choice("kind", &kinds.map(SnapshotKind::as_str))?;
    Ok(chosen.and_then(|chosen| kinds.into_iter().find(|kind| kind.as_str() == chosen)))
}

/// Makes a path absolute, since QEMU has a different working directory.
fn absolute(file: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&file).because(|| format!("`{}` names no file", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lua(options: &str) -> Result<NewSnapshot> {
        let lua = mlua::Lua::new();
        let value: Value = lua.load(format!("return {options}")).eval().unwrap();
        read(&Options::read("machine:snapshot", value, &OPTIONS)?)
    }

    #[test]
    fn without_options_the_engine_decides() {
        let take = read_lua("nil").unwrap();
        assert_eq!((take.kind, take.memory, take.memory_file), (None, None, None));
        assert_eq!((take.comment.as_str(), take.disks.len(), take.flags), ("", 0, SnapshotFlags::default()));
    }

    #[test]
    fn every_option_reaches_the_request() {
        let take = read_lua(
            "{ comment = 'c', kind = 'internal', memory = false, atomic = true, quiesce = true, halt = true,
               live = true, reuse_external = true, disks = { vda = true, vdb = false, vdc = '/s/c' } }",
        );
        let take = take.unwrap();
        assert_eq!((take.comment.as_str(), take.kind, take.memory), ("c", Some(SnapshotKind::Internal), Some(false)));
        let all = SnapshotFlags {
            disk_only: false,
            atomic: true,
            quiesce: true,
            halt: true,
            live: true,
            reuse_external: true,
        };
        assert_eq!(take.flags, all);
        let disks = [
            ("vda".to_string(), DiskChoice::TakePart(None)),
            ("vdb".to_string(), DiskChoice::LeaveOut),
            ("vdc".to_string(), DiskChoice::TakePart(Some("/s/c".into()))),
        ];
        assert_eq!(take.disks, BTreeMap::from(disks));
        assert!(read_lua("{ disk_only = true, memory = false }").unwrap().flags.disk_only);
    }

    #[test]
    fn a_file_is_absolute_for_qemu() {
        let take = read_lua("{ memory = 'ram' }").unwrap();
        assert_eq!(take.memory, Some(true));
        assert_eq!(take.memory_file, Some(std::env::current_dir().unwrap().join("ram")));
    }
}
