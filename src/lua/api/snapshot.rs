//! `snapshot`: a snapshot of any machine, whether the script built it or found it.

use std::path::Path;

use mlua::{AnyUserData, Lua, LuaSerdeExt, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::Result;
use crate::hypervisor::RevertFlags;
use crate::lua::api::domain::AS_LUA;
use crate::lua::handle::machine::Machine;
use crate::lua::handle::snapshot::{Snapshot, found};
use crate::lua::value::error::{no_such_field, read_only};
use crate::lua::value::options::Options;
use crate::lua::verb::{branch, fork};
use crate::name::{SnapshotName, SnapshotPath};
use crate::tree;
use crate::tree::{Engine, Scope};

const KNOWN: [&str; 20] = [
    "name",
    "parent",
    "comment",
    "created",
    "state",
    "kind",
    "live",
    "size",
    "disks",
    "memory",
    "xml",
    "children",
    "is_current",
    "revert",
    "delete",
    "branch",
    "branches",
    "fork",
    "forks",
    "machine",
];

impl UserData for Snapshot {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "snapshot");
        fields.add_field_method_get("name", |_, this| Ok(this.name.to_string()));
        fields.add_field_method_get("machine", |_, this| Ok(Machine::opened(this.domain.clone())));
        fields.add_field_method_get("parent", |_, this| {
            this.look(None, |_, node| {
                let parent = node.snapshot.parent.as_ref().map(SnapshotName::existing).transpose()?;
                Ok(parent.map(|parent| Self::found(&this.domain, parent)))
            })
        });
        fields.add_field_method_get("comment", |_, this| {
            this.look(String::new(), |_, node| Ok(node.snapshot.comment.clone()))
        });
        fields.add_field_method_get("created", |_, this| this.look(0, |_, node| Ok(node.snapshot.created)));
        fields.add_field_method_get("state", |_, this| {
            this.look("shutoff".to_string(), |_, node| Ok(node.snapshot.state.clone()))
        });
        fields
            .add_field_method_get("kind", |_, this| this.look("external", |_, node| Ok(node.snapshot.kind().as_str())));
        fields.add_field_method_get("live", |_, this| this.look(false, |_, node| Ok(node.is_live())));
        fields.add_field_method_get("size", |_, this| this.look(0, |_, node| Ok(node.size())));
        fields.add_field_method_get("memory", |_, this| {
            this.look(None, |_, node| Ok(node.snapshot.memory_files().next().map(Path::to_path_buf)))
        });
        fields.add_field_method_get("xml", |_, this| {
            this.look(String::new(), |_, node| Ok(node.snapshot.document.0.clone()))
        });
        fields.add_field_method_get("disks", |lua: &Lua, this| {
            if this.is_absent()? {
                return lua.create_table().map(Value::Table);
            }
            this.look((), |_, _| Ok(()))?;
            lua.to_value_with(&tree::snapshot_info(&this.domain.context.engine, &this.path())?.disks, AS_LUA)
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        branch::add_methods(methods);
        fork::add_methods(methods);
        methods.add_async_method("children", |_, this, ()| async move {
            if this.is_absent()? {
                return Ok(Vec::new());
            }
            let info = this.blocking(tree::snapshot_info).await?;
            Ok(found(&this.domain, info.children))
        });
        methods.add_async_method("is_current", |_, this, ()| async move {
            if this.is_absent()? {
                return Ok(false);
            }
            let name = this.name.clone();
            let look = move |engine: &Engine, path: &SnapshotPath| {
                Ok(engine.existing_now(&path.machine)?.existing(&name)?.snapshot.is_current)
            };
            Ok(this.blocking(look).await?)
        });
        methods.add_async_method("revert", |_, this, options: Value| async move {
            let flags = revert_flags(options)?;
            if this.leaves_out("revert") {
                return Ok(());
            }
            Ok(this.blocking(move |engine, path| tree::revert(engine, path, flags)).await?)
        });
        methods.add_async_method("delete", |_, this, options: Value| async move {
            let (scope, metadata_only) = scope(options)?;
            if this.leaves_out("delete") {
                return Ok(vec![this.name.to_string()]);
            }
            let deleted = this.blocking(move |engine, path| tree::erase(engine, path, scope, metadata_only)).await?;
            Ok(deleted.into_iter().map(|name| name.to_string()).collect::<Vec<_>>())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.to_string()));
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: AnyUserData| {
            let is_it = |other: &Self| this.name == other.name && this.domain.is(&other.domain);
            Ok(other.borrow::<Self>().is_ok_and(|other| is_it(&other)))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a snapshot", &key, &KNOWN))
        });
        methods.add_meta_method(MetaMethod::NewIndex, |_, _, (key, _): (Value, Value)| {
            Err::<(), _>(read_only("a snapshot", &key))
        });
    }
}

fn revert_flags(options: Value) -> Result<RevertFlags> {
    let options = Options::read("snapshot:revert", options, &["running", "paused", "force", "reset_nvram"])?;
    let flags = RevertFlags {
        running: options.flag("running")?,
        paused: options.flag("paused")?,
        force: options.flag("force")?,
        reset_nvram: options.flag("reset_nvram")?,
    };
    if flags.running && flags.paused { Err(options.conflict("running", "paused")) } else { Ok(flags) }
}

fn scope(options: Value) -> Result<(Scope, bool)> {
    let options = Options::read("snapshot:delete", options, &["children", "children_only", "metadata_only"])?;
    let scope = match (options.flag("children")?, options.flag("children_only")?) {
        (false, false) => Scope::One,
        (true, false) => Scope::WithChildren,
        (false, true) => Scope::ChildrenOnly,
        (true, true) => return Err(options.conflict("children", "children_only")),
    };
    Ok((scope, options.flag("metadata_only")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads options with `read` while their Lua state is alive.
    fn read<T>(read: fn(Value) -> Result<T>, options: &str) -> T {
        let lua = Lua::new();
        read(lua.load(format!("return {options}")).eval().unwrap()).unwrap()
    }

    #[test]
    fn the_options_of_delete_are_a_scope() {
        assert_eq!(read(scope, "nil"), (Scope::One, false));
        assert_eq!(read(scope, "{ children = true }"), (Scope::WithChildren, false));
        assert_eq!(read(scope, "{ children_only = true, metadata_only = true }"), (Scope::ChildrenOnly, true));
    }

    #[test]
    fn the_options_of_revert_are_flags() {
        let flags = RevertFlags { paused: true, force: true, ..RevertFlags::default() };
        assert_eq!(read(revert_flags, "{ paused = true, force = true, running = false }"), flags);
    }
}
