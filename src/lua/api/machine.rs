//! `machine`: `machine(name, options)`, a domain that owns a tree; `machine.open` and `machine.list`.

use mlua::{Lua, Table, Value};

use crate::error::{Error, Result};
use crate::hypervisor::{Firmware, Network};
use crate::lua::api::connection;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::image::AnyImage;
use crate::lua::handle::machine::{Declaration, Machine};
use crate::lua::runtime::context::Context;
use crate::lua::value::options::{Options, string_argument};
use crate::name::MachineName;
use crate::tree;
use crate::tree::Definition;

const OPTIONS: [&str; 8] = ["image", "memory", "cpus", "disk", "cpu_model", "firmware", "network", "extra_xml"];
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 64 << 20;

/// `machine`: a callable table.
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

/// `machine(name, options)`; the first argument is the called table itself.
async fn machine(lua: Lua, (_, name, options): (Table, Value, Value)) -> mlua::Result<Machine> {
    let context = Context::of(&lua)?;
    let name = string_argument("machine", "the name", &name, "machine(\"kvm_debian12\", { image = ... })")?;
    let name = MachineName::new(name)?;
    let options = Options::read("machine", options, &OPTIONS)?;
    let image = AnyImage::from_option(options.get("image"))?;
    let definition = definition(&options, image.digest().to_string())?;
    context.declare(&lua, &name, None)?;
    let swept = name.clone();
    context.blocking(move |engine| tree::sweep(engine, &swept)).await?;
    Ok(Machine { domain: Domain::declared(context, name), declaration: Some(Declaration { definition, image }) })
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
