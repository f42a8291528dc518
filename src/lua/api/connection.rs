//! `libvirt.connect(uri)`: machines of another connection than the one that snaptree was started with.

use std::sync::{Arc, Mutex, PoisonError};

use mlua::{AnyUserData, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::lua::Connector;
use crate::lua::handle::domain::Domain;
use crate::lua::runtime::context::Context;
use crate::lua::value::error::no_such_field;
use crate::lua::value::options::string_argument;
use crate::name::MachineName;

/// The connections of one script. One that is open is used again: two would not know of each other's claims.
pub struct Connections {
    first: Arc<Context>,
    others: Mutex<Vec<(String, Arc<Context>)>>,
    connect: Connector,
}

impl Connections {
    pub fn new(first: Arc<Context>, connect: Connector) -> Self {
        Self { first, others: Mutex::default(), connect }
    }

    /// Returns the connection that the script was started with.
    pub fn first(&self) -> &Arc<Context> {
        &self.first
    }

    pub fn all(&self) -> Vec<Arc<Context>> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![Arc::clone(&self.first)];
        for (_, other) in others.iter() {
            if !all.iter().any(|known| Arc::ptr_eq(known, other)) {
                all.push(Arc::clone(other));
            }
        }
        all
    }

    fn open(&self, uri: &str) -> Result<Arc<Context>> {
        if uri.is_empty() {
            return Err(Error::failed("libvirt.connect: the URI is empty").hint(format!("such as {CONNECT}")));
        }
        if let Some(open) = self.find(uri) {
            return Ok(open);
        }
        let engine = (self.connect)(uri)?;
        // Several names may mean one connection: `embed` is one for an URI with a path in it.
        let opened = self.find(&engine.hypervisor.uri()).unwrap_or_else(|| Arc::new(self.first.beside(engine)));
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push((uri.to_string(), Arc::clone(&opened)));
        Ok(opened)
    }

    fn find(&self, uri: &str) -> Option<Arc<Context>> {
        if self.first.engine.hypervisor.uri() == uri {
            return Some(Arc::clone(&self.first));
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(name, context): &&(String, Arc<Context>)| name == uri || context.engine.hypervisor.uri() == uri;
        others.iter().find(is_it).map(|(_, context)| Arc::clone(context))
    }
}

const CONNECT: &str = "libvirt.connect(\"qemu:///system\")";

/// `libvirt`: `connect`.
pub fn table(lua: &Lua, connections: Arc<Connections>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let connect = lua.create_async_function(move |_, uri: Value| {
        let connections = Arc::clone(&connections);
        async move {
            let uri = string_argument("libvirt.connect", "the URI", &uri, CONNECT)?;
            let first = Arc::clone(&connections.first);
            Ok(Connection(first.blocking(move |_| connections.open(&uri)).await?))
        }
    })?;
    table.set("connect", connect)?;
    Ok(table)
}

/// Opens a machine that has to exist.
pub async fn open(context: &Arc<Context>, function: &str, name: Value) -> Result<Domain> {
    let name = string_argument(function, "the name", &name, &format!("{function}(\"kvm_debian12\")"))?;
    let name = MachineName::existing(name)?;
    if context.control.is_partial() && context.machines().contains(&name) {
        return Ok(Domain::declared(Arc::clone(context), name));
    }
    let domain = Domain::new(Arc::clone(context), name);
    domain.blocking(|engine, name| engine.existing_now(name)).await?;
    Ok(domain)
}

/// Lists every machine, in the order of their names.
pub async fn list(context: &Arc<Context>) -> Result<Vec<Domain>> {
    let names = context.blocking(|engine| engine.names()).await?;
    Ok(names.into_iter().map(|name| Domain::new(Arc::clone(context), name)).collect())
}

pub struct Connection(Arc<Context>);

impl UserData for Connection {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "connection");
        fields.add_field_method_get("uri", |_, this| Ok(this.0.engine.hypervisor.uri()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("open", |_, this, name: Value| async move {
            Ok(open(&this.0, "connection:open", name).await?)
        });
        methods.add_async_method("list", |_, this, ()| async move { Ok(list(&this.0).await?) });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.engine.hypervisor.uri()));
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: AnyUserData| {
            Ok(other.borrow::<Self>().is_ok_and(|other| Arc::ptr_eq(&this.0, &other.0)))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a connection", &key, &["uri", "open", "list"]))
        });
    }
}
