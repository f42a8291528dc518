//! A machine: the verbs that libvirt has for domains, and the recipe that grows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mlua::serde::SerializeOptions;
use mlua::{AnyUserData, IntoLua, LuaSerdeExt, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::Result;
use crate::hypervisor::Start;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::guest::Guest;
use crate::lua::handle::machine::Machine;
use crate::lua::value::error::{no_such_field, read_only};
use crate::lua::value::options::{Options, whole_number};
use crate::lua::verb::step::Branch;
use crate::lua::verb::{self, root};
use crate::name::{MachineName, SnapshotName};
use crate::tree;
use crate::tree::{Engine, HollowSession};

/// How long a guest may take to power off, or to answer, when the script does not say.
const WAIT_LIMIT: Duration = Duration::from_secs(5 * 60);

const UNDOS: &str = "machine:undos() lists what can be undone, with numbers";

/// How Rust's data becomes Lua's: missing values are nil.
pub const AS_LUA: SerializeOptions =
    SerializeOptions::new().set_array_metatable(false).serialize_none_to_null(false).serialize_unit_to_null(false);

const KNOWN: [&str; 18] = [
    "name",
    "uuid",
    "snapshot",
    "snapshots",
    "find",
    "current",
    "tree",
    "undo",
    "undos",
    "start",
    "shutdown",
    "destroy",
    "suspend",
    "resume",
    "state",
    "screenshot",
    "xml",
    "guest",
];

/// Lists a machine's members. A declared one starts from an image, and has no state that branches could grow from.
fn known(machine: &Machine) -> Vec<&'static str> {
    let recipe: &[&str] = if machine.declaration.is_some() { &["root"] } else { &["root", "branch"] };
    [recipe, &KNOWN].concat()
}

impl UserData for Machine {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "machine");
        fields.add_field_method_get("name", |_, this| Ok(this.domain.name.to_string()));
        fields.add_field_method_get("uuid", |_, this| {
            let domain = &this.domain;
            if domain.is_absent()? { Ok(String::new()) } else { Ok(domain.look()?.details.domain.uuid.clone()) }
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        verb::take::add_methods(methods);
        verb::tree::add_methods(methods);
        add_recipe(methods);
        add_verbs(methods);
        add_looks(methods);
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.domain.name.to_string()));
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: AnyUserData| {
            Ok(other.borrow::<Self>().is_ok_and(|other| this.domain.is(&other.domain)))
        });
        methods.add_meta_method(MetaMethod::Index, |_, this, key: Value| {
            Err::<Value, _>(no_such_field("a machine", &key, &known(this)))
        });
        methods.add_meta_method(MetaMethod::NewIndex, |_, _, (key, _): (Value, Value)| {
            Err::<(), _>(read_only("a machine", &key))
        });
    }
}

/// Registers what makes roots and branches of a machine.
fn add_recipe<M: UserDataMethods<Machine>>(methods: &mut M) {
    methods.add_async_method("root", |lua, this, (name, options): (String, Value)| async move {
        let options = Options::read("machine:root", options, &["comment"])?;
        let comment = options.string("comment")?.unwrap_or_default();
        let name = SnapshotName::new(name)?;
        this.domain.context.declare(&lua, &this.domain.name, Some(&name))?;
        Ok(root::root(&lua, &this, name, comment).await?)
    });
    methods.add_async_method("branch", |lua, this, (name, step, options): (String, Value, Value)| async move {
        if this.declaration.is_some() {
            return Err(no_such_field("a machine", &"branch".into_lua(&lua)?, &known(&this)));
        }
        let branch = Branch::read("machine:branch", name, step, options)?;
        Ok(root::branch(&lua, &this.domain, branch).await?)
    });
}

/// Registers a verb that only calls the engine.
fn add_plain<M: UserDataMethods<Machine>>(
    methods: &mut M,
    verb: &'static str,
    function: &'static str,
    call: fn(&Engine, &MachineName) -> Result<()>,
) {
    methods.add_async_method(verb, move |_, this, options: Value| async move {
        Options::read(function, options, &[])?;
        if this.domain.leaves_out(verb)? {
            return Ok(());
        }
        Ok(this.domain.blocking(call).await?)
    });
}

/// Registers what changes a domain.
fn add_verbs<M: UserDataMethods<Machine>>(methods: &mut M) {
    methods.add_async_method("start", |_, this, options: Value| async move {
        let options = Options::read("machine:start", options, &["paused", "reset_nvram"])?;
        let start = Start { paused: options.flag("paused")?, reset_nvram: options.flag("reset_nvram")? };
        if this.domain.leaves_out("start")? {
            return Ok(());
        }
        Ok(this.domain.blocking(move |engine, name| tree::power::start(engine, name, start)).await?)
    });
    methods.add_async_method("shutdown", |_, this, options: Value| async move {
        let options = Options::read("machine:shutdown", options, &["timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        if this.domain.leaves_out("shutdown")? {
            return Ok(());
        }
        Ok(this.domain.blocking(move |engine, name| tree::power::shutdown(engine, name, limit)).await?)
    });
    add_plain(methods, "destroy", "machine:destroy", tree::power::power_off);
    add_plain(methods, "suspend", "machine:suspend", tree::power::suspend);
    add_plain(methods, "resume", "machine:resume", tree::power::resume);
    methods.add_async_method("undo", |_, this, number: Value| async move {
        let number = whole_number("machine:undo", "the number", &number).map_err(|error| error.hint(UNDOS))?;
        if this.domain.leaves_out("undo")? {
            return Ok(String::new());
        }
        Ok(this.domain.blocking(move |engine, name| tree::undo(engine, name, number)).await?)
    });
}

/// Registers what reads a domain or its guest.
fn add_looks<M: UserDataMethods<Machine>>(methods: &mut M) {
    methods.add_async_method("state", |_, this, ()| async move {
        let Domain { context, name, .. } = &this.domain;
        if let Some(state) = context.control.state(context.engine.uri(), name) {
            return Ok(state);
        }
        Ok(this.domain.seen().await?.map_or("shutoff", |machine| machine.details.domain.state.as_str()))
    });
    methods.add_async_method("undos", |lua, this, ()| async move {
        if this.domain.is_absent()? {
            return lua.create_table().map(Value::Table);
        }
        let entries = this.domain.blocking(tree::undo_entries).await?;
        lua.to_value_with(&entries, AS_LUA)
    });
    methods.add_async_method("screenshot", |_, this, path: PathBuf| async move {
        if this.domain.leaves_out("screenshot")? {
            return Ok("image/png".to_string());
        }
        Ok(this.domain.blocking(move |engine, name| tree::power::screenshot(engine, name, &path)).await?)
    });
    methods.add_async_method("xml", |_, this, options: Value| async move {
        let inactive = Options::read("machine:xml", options, &["inactive"])?.flag("inactive")?;
        if this.domain.is_absent()? {
            return Ok(String::new());
        }
        Ok(this.domain.blocking(move |engine, name| tree::power::xml(engine, name, inactive)).await?)
    });
    methods.add_async_method("guest", |_, this, options: Value| async move {
        let options = Options::read("machine:guest", options, &["timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        let context = &this.domain.context;
        if this.domain.leaves_out("guest")? {
            let session = HollowSession::new(context.engine.interrupt.clone());
            return Ok(Guest::new(Arc::new(session), Arc::default()));
        }
        let session = this.domain.blocking(move |engine, name| tree::power::guest_of(engine, name, limit)).await?;
        Ok(Guest::new(Arc::new(session), Arc::default()))
    });
}
