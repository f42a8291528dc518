//! `fork`: a throw-away running clone of a snapshot, which is also a guest.

use std::sync::Arc;

use mlua::{MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::hypervisor::Forward;
use crate::lua::api::guest;
use crate::lua::handle::fork::Fork;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::value::error::{no_such_field, read_only};
use crate::lua::value::options::{Options, whole_number};
use crate::name::SnapshotName;
use crate::tree;
use crate::tree::{BranchSpec, Engine, Through};

const KNOWN: [&str; 6] = ["name", "parent", "forward", "forward_back", "snapshot", "close"];

/// Reads a TCP port.
fn a_port(function: &str, value: &Value) -> Result<u16> {
    let port = whole_number(function, "the port", value)?.and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| Error::failed(format!("{function}: a port is a number from 1 to 65535")))
}

impl UserData for Fork {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "fork");
        fields.add_field_method_get("name", |_, this| {
            if this.is_planned() { Ok(String::new()) } else { Ok(this.running()?.domain().to_string()) }
        });
        fields.add_field_method_get("parent", |_, this| Ok(this.of.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        guest::add_methods(methods);
        methods.add_async_method("forward", |_, this, (port, options): (Value, Value)| async move {
            let guest = a_port("fork:forward", &port)?;
            let options = Options::read("fork:forward", options, &["host", "through"])?;
            let host = options.positive("host")?.unwrap_or_default() as u16;
            let through = match options.choice("through", &["channel", "network"])?.as_deref() {
                Some("channel") => Through::Channel,
                Some(_) => Through::Network,
                None => Through::Any,
            };
            if this.is_planned() {
                return Ok(if host == 0 { guest } else { host });
            }
            let (running, forward) = (this.running()?, Forward { host, guest });
            Ok(this.of.blocking(move |engine, _| tree::forward(engine, &running, forward, through)).await?)
        });
        methods.add_async_method("forward_back", |_, this, (host, guest): (Value, Value)| async move {
            let host = a_port("fork:forward_back", &host)?;
            let guest = if guest.is_nil() { host } else { a_port("fork:forward_back", &guest)? };
            if !this.is_planned() {
                let (running, forward) = (this.running()?, Forward { host, guest });
                this.of.blocking(move |engine, _| tree::forward_back(engine, &running, forward)).await?;
            }
            Ok(guest)
        });
        methods.add_async_method("snapshot", |lua, this, (name, options): (String, Value)| async move {
            let comment = Options::read("fork:snapshot", options, &["comment"])?.string("comment")?.unwrap_or_default();
            let name = SnapshotName::new(name)?;
            let domain = &this.of.domain;
            domain.context.declare(&lua, &domain.name, Some(&name))?;
            if this.is_planned() {
                return Ok(Snapshot::not_planned(domain, name));
            }
            let wanted = BranchSpec { comment, ..BranchSpec::new(name) };
            let (running, session, parent) = (this.running()?, Arc::clone(&this.session), this.of.node().await?);
            let keep =
                move |engine: &Engine, _: &_| tree::keep_fork(engine, &running, &parent, &wanted, session.journal());
            Ok(Snapshot::grown(domain, this.of.blocking(keep).await?))
        });
        methods.add_method("close", |_, this, ()| {
            this.close();
            Ok(())
        });
        methods.add_meta_method("__close", |_, this, _: Value| {
            this.close();
            Ok(())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(format!("fork of {}", this.of)));
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a fork", &key, &[&KNOWN[..], &guest::METHODS].concat()))
        });
        methods.add_meta_method(MetaMethod::NewIndex, |_, _, (key, _): (Value, Value)| {
            Err::<(), _>(read_only("a fork", &key))
        });
    }
}
