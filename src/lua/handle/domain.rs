//! A domain as a script holds it, whoever made it: the verbs that libvirt has for domains.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mlua::serde::SerializeOptions;
use mlua::{AnyUserData, LuaSerdeExt, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::hypervisor::Start;
use crate::lua::api::machine::Machine;
use crate::lua::handle::guest::Guest;
use crate::lua::runtime::context::Context;
use crate::lua::value::error::{no_such_field, read_only};
use crate::lua::value::options::{Options, whole_number};
use crate::lua::verb::{root, take, tree};
use crate::name::MachineName;
use crate::tree::{Engine, Machine as Seen, Session};

/// How long a guest may take to power off, or to answer, when the script does not say.
const WAIT_LIMIT: Duration = Duration::from_secs(5 * 60);

const UNDOS: &str = "machine:undos() lists what can be taken back, with numbers";

/// How Rust's data becomes Lua's: what is missing is nil.
pub const AS_LUA: SerializeOptions =
    SerializeOptions::new().set_array_metatable(false).serialize_none_to_null(false).serialize_unit_to_null(false);

/// A machine of a connection, by name.
#[derive(Clone)]
pub struct Domain {
    pub context: Arc<Context>,
    pub name: MachineName,
    /// Whether the script declares it, so that it need not exist yet.
    is_declared: bool,
}

/// What stands for a machine: the opened one and the declared one.
pub trait OnDomain: UserData + 'static {
    /// What its methods are called besides the ones that are registered here.
    const MORE: &'static [&'static str];

    fn domain(&self) -> &Domain;
}

impl Domain {
    pub fn new(context: Arc<Context>, name: MachineName) -> Self {
        Self { context, name, is_declared: false }
    }

    pub fn declared(context: Arc<Context>, name: MachineName) -> Self {
        Self { context, name, is_declared: true }
    }

    /// Carries out a blocking call beside the script.
    pub async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine, &MachineName) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let domain = self.clone();
        self.context
            .blocking(move |engine| {
                domain.check()?;
                call(engine, &domain.name)
            })
            .await
    }

    /// Looks at the machine beside the script; nothing where it need not be there.
    pub async fn seen(&self) -> Result<Option<Arc<Seen>>> {
        if self.is_absent()? {
            return Ok(None);
        }
        self.blocking(|engine, name| engine.existing_now(name)).await.map(Some)
    }

    /// Says whether it is not there and need not be: a plan makes no machine, and `--only` leaves some alone.
    pub fn is_absent(&self) -> Result<bool> {
        let may_be = self.is_declared && self.context.control.is_partial();
        Ok(may_be && self.context.engine.machine(&self.name)?.is_none())
    }

    /// Says whether an act on it is left out, and notes that.
    pub fn leaves_out(&self, act: &str) -> Result<bool> {
        let control = &self.context.control;
        if let Some(mut plan) = control.plan() {
            plan.leave_out(act, &self.name);
            let state = match act {
                "start" | "resume" => Some("running"),
                "shutdown" | "destroy" => Some("shutoff"),
                "suspend" => Some("paused"),
                _ => None,
            };
            if let Some(state) = state {
                control.would_be(self.context.engine.hypervisor.uri(), &self.name, state);
            }
            return Ok(true);
        }
        let is_absent = self.is_absent()?;
        if is_absent {
            self.context.engine.events.note(format!("no {act} of {}, which --only leaves alone", self.name));
        }
        Ok(is_absent)
    }

    /// Looks at the machine as it is now.
    pub fn look(&self) -> Result<Arc<Seen>> {
        self.check()?;
        self.context.engine.existing_now(&self.name)
    }

    /// Says in the script's own terms that a declared machine does not exist yet.
    fn check(&self) -> Result<()> {
        if self.is_declared && self.context.engine.machine(&self.name)?.is_none() {
            return Err(Error::failed(format!("machine `{}` does not exist yet", self.name))
                .hint("machine:root(\"name\") makes it"));
        }
        Ok(())
    }

    /// Says whether both stand for the same domain.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.context.engine, &other.context.engine)
    }

    fn of(value: &AnyUserData) -> Option<Self> {
        let opened = value.borrow::<Self>().ok().map(|it| it.clone());
        opened.or_else(|| value.borrow::<Machine>().ok().map(|it| it.domain().clone()))
    }
}

impl OnDomain for Domain {
    const MORE: &'static [&'static str] = &["root", "branch"];

    fn domain(&self) -> &Domain {
        self
    }
}

impl UserData for Domain {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        add_fields(fields);
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_methods(methods);
        root::add_methods(methods);
    }
}

pub fn add_fields<T: OnDomain, F: UserDataFields<T>>(fields: &mut F) {
    fields.add_meta_field(MetaMethod::Type, "machine");
    fields.add_field_method_get("name", |_, this| Ok(this.domain().name.to_string()));
    fields.add_field_method_get("uuid", |_, this| {
        let domain = this.domain();
        if domain.is_absent()? { Ok(String::new()) } else { Ok(domain.look()?.details.domain.uuid.clone()) }
    });
}

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

pub fn add_methods<T: OnDomain, M: UserDataMethods<T>>(methods: &mut M) {
    take::add_methods(methods);
    tree::add_methods(methods);
    add_verbs(methods);
    add_looks(methods);
    methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.domain().name.to_string()));
    methods.add_meta_method(MetaMethod::Eq, |_, this, other: AnyUserData| {
        Ok(Domain::of(&other).is_some_and(|other| this.domain().is(&other)))
    });
    methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
        Err::<Value, _>(no_such_field("a machine", &key, &[T::MORE, &KNOWN].concat()))
    });
    methods.add_meta_method(MetaMethod::NewIndex, |_, _, (key, _): (Value, Value)| {
        Err::<(), _>(read_only("a machine", &key))
    });
}

/// Registers a verb that is the engine's alone.
fn add_plain<T: OnDomain, M: UserDataMethods<T>>(
    methods: &mut M,
    verb: &'static str,
    function: &'static str,
    call: fn(&Engine, &MachineName) -> Result<()>,
) {
    methods.add_async_method(verb, move |_, this, options: Value| async move {
        Options::read(function, options, &[])?;
        if this.domain().leaves_out(verb)? {
            return Ok(());
        }
        Ok(this.domain().blocking(call).await?)
    });
}

/// What changes a domain.
fn add_verbs<T: OnDomain, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("start", |_, this, options: Value| async move {
        let options = Options::read("machine:start", options, &["paused", "reset_nvram"])?;
        let start = Start { paused: options.flag("paused")?, reset_nvram: options.flag("reset_nvram")? };
        if this.domain().leaves_out("start")? {
            return Ok(());
        }
        Ok(this.domain().blocking(move |engine, name| engine.start(name, start)).await?)
    });
    methods.add_async_method("shutdown", |_, this, options: Value| async move {
        let options = Options::read("machine:shutdown", options, &["timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        if this.domain().leaves_out("shutdown")? {
            return Ok(());
        }
        Ok(this.domain().blocking(move |engine, name| engine.shutdown(name, limit)).await?)
    });
    add_plain(methods, "destroy", "machine:destroy", Engine::power_off);
    add_plain(methods, "suspend", "machine:suspend", Engine::suspend);
    add_plain(methods, "resume", "machine:resume", Engine::resume);
    methods.add_async_method("undo", |_, this, number: Value| async move {
        let number = whole_number("machine:undo", "the number", &number).map_err(|error| error.hint(UNDOS))?;
        if this.domain().leaves_out("undo")? {
            return Ok(String::new());
        }
        Ok(this.domain().blocking(move |engine, name| engine.undo(name, number)).await?)
    });
}

/// What looks at a domain, or into it.
fn add_looks<T: OnDomain, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("state", |_, this, ()| async move {
        let Domain { context, name, .. } = this.domain();
        if let Some(state) = context.control.state(context.engine.hypervisor.uri(), name) {
            return Ok(state);
        }
        Ok(this.domain().seen().await?.map_or("shutoff", |machine| machine.details.domain.state.as_str()))
    });
    methods.add_async_method("undos", |lua, this, ()| async move {
        if this.domain().is_absent()? {
            return lua.create_table().map(Value::Table);
        }
        let entries = this.domain().blocking(|engine, name| engine.undo_entries(name)).await?;
        lua.to_value_with(&entries, AS_LUA)
    });
    methods.add_async_method("screenshot", |_, this, path: PathBuf| async move {
        if this.domain().leaves_out("screenshot")? {
            return Ok("image/png".to_string());
        }
        Ok(this.domain().blocking(move |engine, name| engine.screenshot(name, &path)).await?)
    });
    methods.add_async_method("xml", |_, this, options: Value| async move {
        let inactive = Options::read("machine:xml", options, &["inactive"])?.flag("inactive")?;
        if this.domain().is_absent()? {
            return Ok(String::new());
        }
        Ok(this.domain().blocking(move |engine, name| engine.xml(name, inactive)).await?)
    });
    methods.add_async_method("guest", |_, this, options: Value| async move {
        let options = Options::read("machine:guest", options, &["timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        let Domain { context, name, .. } = this.domain();
        if this.domain().leaves_out("guest")? {
            let (events, interrupt) = (context.engine.events.clone(), context.engine.interrupt.clone());
            return Ok(Guest::new(Arc::new(Session::hollow(name.as_str(), events, interrupt)), Arc::default()));
        }
        let session = this.domain().blocking(move |engine, name| engine.guest_of(name, limit)).await?;
        Ok(Guest::new(Arc::new(session), Arc::default()))
    });
}
