//! `machine(name, options)`: a domain that owns a tree, and its root.

use std::sync::Arc;

use mlua::{Lua, UserData, UserDataFields, UserDataMethods, Value};

use super::context::Context;
use super::image::AnyImage;
use super::options::Options;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::hypervisor::{Firmware, Network};
use crate::name::{MachineName, SnapshotName};
use crate::tree::{Definition, Event, Found};

const OPTIONS: [&str; 8] = ["image", "memory", "cpus", "disk", "cpu_model", "firmware", "network", "extra_xml"];
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 64 << 20;

pub struct Machine {
    name: MachineName,
    definition: Definition,
    image: AnyImage,
}

/// `machine(name, options)`.
pub async fn machine(lua: Lua, (name, options): (String, Value)) -> mlua::Result<Machine> {
    let context = Context::of(&lua)?;
    let name = MachineName::new(name)?;
    let options = Options::read("machine", options, &OPTIONS)?;
    let image = AnyImage::from_option(options.get("image"))?;
    let definition = definition(&options, image.digest().to_string())?;
    context.declare(&lua, &name, None)?;
    let swept = name.clone();
    context.blocking(move |engine| engine.sweep(&swept)).await?;
    Ok(Machine { name, definition, image })
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
    async fn root(&self, lua: &Lua, context: &Arc<Context>, name: SnapshotName, comment: String) -> Result<Snapshot> {
        let reason = loop {
            let (machine, wanted, definition) = (self.name.clone(), name.clone(), self.definition.clone());
            match context.blocking(move |engine| engine.find_root(&machine, &wanted, &definition)).await? {
                Found::Cached(node) => return Ok(Snapshot(node)),
                Found::Needed(reason) => {
                    let machine = self.name.clone();
                    if !context.blocking(move |engine| engine.claim(&machine)).await? {
                        break reason;
                    }
                }
            }
        };
        let events = &context.engine.events;
        events.emit(Event::NodeStarted { machine: self.name.to_string(), node: name.to_string(), reason });
        let ready = self.image.ready(lua, context).await?;
        let (machine, definition) = (self.name.clone(), self.definition.clone());
        let made = context.blocking(move |engine| engine.make_root(&machine, &name, &comment, &definition, &ready));
        made.await.map(Snapshot)
    }
}

impl UserData for Machine {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.name.to_string()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("root", |lua, this, (name, options): (String, Value)| async move {
            let context = Context::of(&lua)?;
            let options = Options::read("machine:root", options, &["comment"])?;
            let comment = options.string("comment")?.unwrap_or_default();
            let name = SnapshotName::new(name)?;
            context.declare(&lua, &this.name, Some(&name))?;
            let made = this.root(&lua, &context, name.clone(), comment).await;
            Ok(made.inspect_err(|_| {
                let (machine, node) = (this.name.to_string(), name.to_string());
                context.engine.events.emit(Event::NodeFailed { machine, node });
            })?)
        });
    }
}
