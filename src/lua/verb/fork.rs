//! Forking a snapshot: `fork` and `forks`.

use futures_util::future::try_join_all;
use mlua::{UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::hypervisor::Connections;
use crate::lua::handle::fork::Fork;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::value::options::{Options, whole_number};
use crate::tree::ForkOptions;

pub fn add_methods<M: UserDataMethods<Snapshot>>(methods: &mut M) {
    methods.add_async_method("fork", |_, this, options: Value| async move {
        let options = read("snapshot:fork", options)?;
        Ok(Fork::start(&this, options).await?)
    });
    methods.add_async_method("forks", |_, this, (count, options): (Value, Value)| async move {
        let count = whole_number("snapshot:forks", "the number", &count)?;
        let count = count.ok_or_else(|| {
            Error::failed("snapshot:forks: how many?").hint("snapshot:forks(8) makes a list of eight forks")
        })?;
        let options = read("snapshot:forks", options)?;
        Ok(try_join_all((0..count).map(|_| Fork::start(&this, options))).await?)
    });
}

fn read(function: &'static str, options: Value) -> Result<ForkOptions> {
    let options = Options::read(function, options, &["require_live", "identity", "keep_connections"])?;
    let new_identity = match options.string("identity")?.as_deref() {
        None | Some("same") => false,
        Some("new") => true,
        Some(other) => {
            return Err(Error::failed(format!("{function}: `identity` cannot be {other:?}"))
                .hint("\"new\" gives it a machine id, a host name and SSH host keys of its own"));
        }
    };
    let connections = if options.flag("keep_connections")? { Connections::Kept } else { Connections::Reset };
    Ok(ForkOptions { require_live: options.flag("require_live")?, connections, new_identity, ..ForkOptions::default() })
}
