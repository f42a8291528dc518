//! Finding snapshots in a machine's tree: `snapshots`, `find`, `current`, `tree`.

use std::collections::HashMap;

use mlua::{Lua, MetaMethod, Table, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::lua::handle::domain::Domain;
use crate::lua::handle::machine::Machine;
use crate::lua::handle::snapshot::{Snapshot, found};
use crate::lua::value::options::Options;
use crate::lua::verb::take::kind;
use crate::name::SnapshotName;
use crate::tree::{Filter, Node, SnapshotView, TreeView};

const OPTIONS: [&str; 8] = ["roots", "leaves", "no_leaves", "kind", "state", "from", "descendants", "topological"];

/// The states that a snapshot can have, as libvirt names them.
const STATES: [&str; 8] =
    ["running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended", "disk-snapshot"];

pub fn add_methods<M: UserDataMethods<Machine>>(methods: &mut M) {
    methods.add_async_method("snapshots", |_, this, options: Value| async move {
        let domain = &this.domain;
        let filter = filter(domain, &Options::read("machine:snapshots", options, &OPTIONS)?)?;
        let Some(machine) = domain.seen().await? else { return Ok(Vec::new()) };
        let is_absent = |from: &SnapshotName| machine.node(from.as_str()).is_none();
        if domain.context.control.is_plan() && filter.from.as_ref().is_some_and(is_absent) {
            return Ok(Vec::new());
        }
        Ok(found(domain, machine.select(&filter)?.into_iter().map(name_of).collect()))
    });
    methods.add_async_method("find", |_, this, name: String| async move {
        let domain = &this.domain;
        if let Some(remembered) = Snapshot::recalled(domain, &name) {
            return Ok(Some(remembered));
        }
        let machine = domain.seen().await?;
        one(domain, machine.as_ref().and_then(|machine| machine.node(&name)))
    });
    methods.add_async_method("current", |_, this, ()| async move {
        let machine = this.domain.seen().await?;
        one(&this.domain, machine.as_ref().and_then(|machine| machine.current()))
    });
    methods.add_async_method("tree", |lua, this, ()| async move {
        let Some(machine) = this.domain.seen().await? else { return lua.create_table() };
        let view = TreeView::selected(&machine, &Filter::default())?;
        let tree = nested(&lua, &view)?;
        let meta = lua.create_table()?;
        meta.set(MetaMethod::ToString.name(), lua.create_function(move |_, _: Value| Ok(drawn(&view)))?)?;
        tree.set_metatable(Some(meta))?;
        Ok(tree)
    });
}

/// The drawing without its final newline, as `print` needs it.
fn drawn(view: &TreeView) -> String {
    view.to_string().trim_end().to_string()
}

fn name_of(node: &Node) -> String {
    node.name().to_string()
}

fn one(domain: &Domain, node: Option<&Node>) -> mlua::Result<Option<Snapshot>> {
    let name = node.map(|node| SnapshotName::existing(node.name())).transpose()?;
    Ok(name.map(|name| Snapshot::found(domain, name)))
}

fn filter(domain: &Domain, options: &Options) -> Result<Filter> {
    // Accepted for virsh compatibility; the order is always topological.
    options.flag("topological")?;
    let filter = Filter {
        roots: options.flag("roots")?,
        leaves: options.flag("leaves")?,
        no_leaves: options.flag("no_leaves")?,
        kind: kind(options)?,
        states: options.choices("state", &STATES)?,
        from: from(domain, options)?,
        descendants: options.flag("descendants")?,
    };
    if filter.leaves && filter.no_leaves {
        return Err(options.conflict("leaves", "no_leaves"));
    }
    if filter.roots && filter.from.is_some() {
        return Err(options.conflict("roots", "from"));
    }
    if filter.descendants && filter.from.is_none() {
        return Err(Error::failed("machine:snapshots: `descendants` needs `from`")
            .hint("without them every snapshot is listed; from = \"NAME\" lists the children of one"));
    }
    Ok(filter)
}

/// Reads the option `from`: a name, or a snapshot of this machine.
fn from(domain: &Domain, options: &Options) -> Result<Option<SnapshotName>> {
    match options.get("from") {
        None => Ok(None),
        Some(Value::String(name)) => SnapshotName::existing(name.to_string_lossy()).map(Some),
        Some(value) => match Snapshot::of(&value) {
            Some(snapshot) if snapshot.domain.is(domain) => Ok(Some(snapshot.name)),
            Some(snapshot) => Err(Error::failed(format!(
                "machine:snapshots: `from` is `{snapshot}`, which is not of `{}`",
                domain.name
            ))),
            None => Err(options.wrong("from", "a snapshot or its name", &value)),
        },
    }
}

/// Makes a table for each root of the tree, with its children in it.
fn nested(lua: &Lua, tree: &TreeView) -> mlua::Result<Table> {
    let roots = lua.create_table()?;
    let mut children_of: HashMap<&str, Table> = HashMap::new();
    // A parent comes before its children.
    for SnapshotView { name, parent, current, .. } in &tree.snapshots {
        let (node, children) = (lua.create_table()?, lua.create_table()?);
        node.set("name", name.as_str())?;
        node.set("current", *current)?;
        node.set("children", &children)?;
        let siblings = parent.as_deref().and_then(|parent| children_of.get(parent)).unwrap_or(&roots);
        siblings.raw_push(node)?;
        children_of.insert(name, children);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::SnapshotKind;

    #[test]
    fn a_tree_is_nested_as_it_is_drawn() {
        let view = |(name, parent): (&str, Option<&str>)| SnapshotView {
            name: name.to_string(),
            parent: parent.map(str::to_string),
            comment: String::new(),
            created: 0,
            state: "shutoff".into(),
            current: name == "c",
            kind: SnapshotKind::External,
            live: false,
            key: None,
            operations: Vec::new(),
        };
        let snapshots = [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a")), ("e", None)];
        let tree = TreeView {
            machine: "m".into(),
            current: Some("c".into()),
            snapshots: snapshots.into_iter().map(view).collect(),
        };
        let lua = Lua::new();
        lua.globals().set("tree", nested(&lua, &tree).unwrap()).unwrap();
        let shown = lua.load(
            "local function show(nodes)
               local shown = {}
               for _, node in ipairs(nodes) do
                 table.insert(shown, node.name .. (node.current and '*' or '') .. '(' .. show(node.children) .. ')')
               end
               return table.concat(shown, ' ')
             end
             return show(tree)",
        );
        assert_eq!(shown.eval::<String>().unwrap(), "a(b(c*()) d()) e()");
    }
}
