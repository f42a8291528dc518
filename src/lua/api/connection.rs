//! `libvirt.connect(uri)`: machines of a connection other than the one that snaptree was started with.

use std::sync::Arc;

use mlua::{AnyUserData, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::machine::Machine;
use crate::lua::runtime::connections::{CONNECT, Connections};
use crate::lua::runtime::context::Context;
use crate::lua::value::error::no_such_field;
use crate::lua::value::options::string_argument;
use crate::name::MachineName;

/// `libvirt`: `connect`.
pub fn table(lua: &Lua, connections: Arc<Connections>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let connect = lua.create_async_function(move |_, uri: Value| {
        let connections = Arc::clone(&connections);
        async move {
            let uri = string_argument("libvirt.connect", "the URI", &uri, CONNECT)?;
            let first = Arc::clone(connections.first());
            Ok(Connection(first.blocking(move |_| connections.open(&uri)).await?))
        }
    })?;
    table.set("connect", connect)?;
    Ok(table)
}

/// Opens an existing machine; fails if there is none.
pub async fn open(context: &Arc<Context>, function: &str, name: Value) -> Result<Machine> {
    let name = string_argument(function, "the name", &name, &format!("{function}(\"kvm_debian12\")"))?;
    let name = MachineName::existing(name)?;
    if context.control.is_partial() && context.machines().contains(&name) {
        return Ok(Machine::opened(Domain::declared(Arc::clone(context), name)));
    }
    let domain = Domain::new(Arc::clone(context), name);
    domain.blocking(|engine, name| engine.existing_now(name)).await?;
    Ok(Machine::opened(domain))
}

/// Lists every machine, in the order of their names.
pub async fn list(context: &Arc<Context>) -> Result<Vec<Machine>> {
    let names = context.blocking(|engine| engine.names()).await?;
    Ok(names.into_iter().map(|name| Machine::opened(Domain::new(Arc::clone(context), name))).collect())
}

pub struct Connection(Arc<Context>);

impl UserData for Connection {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "connection");
        fields.add_field_method_get("uri", |_, this| Ok(this.0.engine.uri()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("open", |_, this, name: Value| async move {
            Ok(open(&this.0, "connection:open", name).await?)
        });
        methods.add_async_method("list", |_, this, ()| async move { Ok(list(&this.0).await?) });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.engine.uri()));
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: AnyUserData| {
            Ok(other.borrow::<Self>().is_ok_and(|other| Arc::ptr_eq(&this.0, &other.0)))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a connection", &key, &["uri", "open", "list"]))
        });
    }
}
