//! `machine`: `machine(name, options)`, a domain that owns a tree, and its root; `machine.open` and `machine.list`.

use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::hypervisor::{Firmware, Network};
use crate::lua::api::connection;
use crate::lua::handle::domain::{self, Domain, OnDomain};
use crate::lua::handle::image::AnyImage;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::runtime::context::Context;
use crate::lua::value::options::{Options, string_argument};
use crate::lua::verb::plan;
use crate::name::{MachineName, SnapshotName};
use crate::tree::{Definition, Event, Found, Subject};

const OPTIONS: [&str; 8] = ["image", "memory", "cpus", "disk", "cpu_model", "firmware", "network", "extra_xml"];
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 64 << 20;

pub struct Machine {
    domain: Domain,
    definition: Definition,
    image: AnyImage,
}

/// `machine`: a table that can be called.
pub fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let open =
        |lua: Lua, name: Value| async move { Ok(connection::open(&Context::of(&lua)?, "machine.open", name).await?) };
    let list = |lua: Lua, ()| async move { Ok(connection::list(&Context::of(&lua)?).await?) };
    table.set("open", lua.create_async_function(open)?)?;
    table.set("list", lua.create_async_function(list)?)?;
    let meta = lua.create_table()?;
    meta.set("__call", lua.create_async_function(machine)?)?;
    table.set_metatable(Some(meta))?;
    Ok(table)
}

/// `machine(name, options)`; the first argument is the table that is called.
async fn machine(lua: Lua, (_, name, options): (Table, Value, Value)) -> mlua::Result<Machine> {
    let context = Context::of(&lua)?;
    let name = string_argument("machine", "the name", &name, "machine(\"kvm_debian12\", { image = ... })")?;
    let name = MachineName::new(name)?;
    let options = Options::read("machine", options, &OPTIONS)?;
    let image = AnyImage::from_option(options.get("image"))?;
    let definition = definition(&options, image.digest().to_string())?;
    context.declare(&lua, &name, None)?;
    let swept = name.clone();
    context.blocking(move |engine| engine.sweep(&swept)).await?;
    Ok(Machine { domain: Domain::declared(context, name), definition, image })
}

fn definition(options: &Options, image: String) -> Result<Definition> {
    let memory = options.size("memory")?.unwrap_or(MEMORY);
    if memory < LEAST_MEMORY {
        return Err(Error::failed("machine: `memory` is less than 64 MiB, in which no guest here boots"));
    }
    let firmware = match options.string("firmware")?.as_deref() {
        None | Some("bios") => Firmware::Bios,
        Some("uefi") => Firmware::Uefi,
        Some(other) => {
            return Err(Error::failed(format!("machine: `firmware` must be \"bios\" or \"uefi\", not {other:?}")));
        }
    };
    Ok(Definition {
        image,
        memory,
        cpus: options.positive("cpus")?.unwrap_or(1),
        disk: options.size("disk")?,
        cpu_model: options.string("cpu_model")?,
        firmware,
        network: network(options)?,
        extra_xml: options.string("extra_xml")?.unwrap_or_default(),
    })
}

/// Reads `"user"`, `"none"`, `"network:default"` or `"bridge:br0"`.
fn network(options: &Options) -> Result<Network> {
    let Some(text) = options.string("network")? else { return Ok(Network::User) };
    match (text.as_str(), text.split_once(':')) {
        ("user", _) => Ok(Network::User),
        ("none", _) => Ok(Network::None),
        (_, Some(("network", name))) if !name.is_empty() => Ok(Network::Network(name.to_string())),
        (_, Some(("bridge", name))) if !name.is_empty() => Ok(Network::Bridge(name.to_string())),
        _ => Err(Error::failed(format!("machine: there is no `network` {text:?}"))
            .hint("it is \"user\", \"none\", \"network:NAME\" or \"bridge:NAME\"")),
    }
}

impl Machine {
    async fn root(&self, lua: &Lua, name: SnapshotName, comment: String) -> Result<Snapshot> {
        let Domain { context, name: machine, .. } = &self.domain;
        if !context.control.needs(&context.place(machine, &name)) {
            return Ok(Snapshot::left_alone(&self.domain, name));
        }
        let reason = loop {
            let (place, wanted, definition) = (machine.clone(), name.clone(), self.definition.clone());
            let found = context.blocking(move |engine| engine.find_root(&place, &wanted, &definition)).await?;
            match context.settle(machine, &name, found)? {
                found if context.control.is_plan() => return Ok(plan::root(&self.domain, name, found)),
                Found::Cached(node) | Found::KeptAside(node) => return Ok(Snapshot::grown(&self.domain, node)),
                Found::Needed(reason) => {
                    let place = machine.clone();
                    if !context.blocking(move |engine| engine.claim(&place)).await? {
                        break reason;
                    }
                }
            }
        };
        let events = &context.engine.events;
        let subject = Subject::node(machine, &name);
        events.emit(Event::NodeStarted { subject, reason: reason.to_string() });
        let ready = self.image.ready(lua, context).await?;
        let (place, definition, expression) = (machine.clone(), self.definition.clone(), self.image.expression.clone());
        let made = context.blocking(move |engine| {
            engine.make_root(&place, &name, &comment, &definition, &ready, expression.as_deref())
        });
        made.await.map(|node| Snapshot::grown(&self.domain, node))
    }
}

impl OnDomain for Machine {
    const MORE: &'static [&'static str] = &["root"];

    fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl UserData for Machine {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        domain::add_fields(fields);
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        domain::add_methods(methods);
        methods.add_async_method("root", |lua, this, (name, options): (String, Value)| async move {
            let Domain { context, name: machine, .. } = &this.domain;
            let options = Options::read("machine:root", options, &["comment"])?;
            let comment = options.string("comment")?.unwrap_or_default();
            let name = SnapshotName::new(name)?;
            context.declare(&lua, machine, Some(&name))?;
            let made = this.root(&lua, name.clone(), comment).await;
            Ok(made.inspect_err(|_| {
                context.engine.events.emit(Event::NodeFailed { subject: Subject::node(machine, &name) });
            })?)
        });
    }
}
