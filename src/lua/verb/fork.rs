//! `fork`: a throw-away running clone of a snapshot, which is a guest too.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use mlua::{MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::lua::handle::guest::{self, Guest, InGuest};
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::value::error::{no_such_field, read_only};
use crate::lua::value::options::{Options, whole_number};
use crate::name::SnapshotName;
use crate::tree::{Builder, Engine, ForkOptions, Session, Wanted};

/// A fork of a snapshot, which goes when it is closed or nobody holds it any more.
pub struct Fork {
    of: Snapshot,
    /// Nothing in a plan, and once it is closed.
    running: Mutex<Option<Arc<Builder>>>,
    session: Arc<Session>,
    guest: Guest,
}

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
    let options = Options::read(function, options, &["require_live", "identity"])?;
    let new_identity = match options.string("identity")?.as_deref() {
        None | Some("same") => false,
        Some("new") => true,
        Some(other) => {
            return Err(Error::failed(format!("{function}: `identity` cannot be {other:?}"))
                .hint("\"new\" gives it a machine id, a host name and SSH host keys of its own"));
        }
    };
    Ok(ForkOptions { require_live: options.flag("require_live")?, new_identity, ..ForkOptions::default() })
}

impl Fork {
    async fn start(of: &Snapshot, options: ForkOptions) -> Result<Self> {
        if of.leaves_out("fork") {
            let engine = &of.domain.context.engine;
            let session = Session::hollow(of.name.as_str(), engine.events.clone(), engine.interrupt.clone());
            return Ok(Self::new(of, None, session));
        }
        let (fork, session) = of
            .blocking(move |engine, path| {
                let fork = engine.fork(path, options)?;
                let session = engine.session_in(&fork, path, options)?;
                Ok((fork, session))
            })
            .await?;
        Ok(Self::new(of, Some(fork), session))
    }

    fn new(of: &Snapshot, running: Option<Builder>, session: Session) -> Self {
        let session = Arc::new(session);
        let guest = Guest::new(Arc::clone(&session), Arc::default());
        Self { of: of.clone(), running: Mutex::new(running.map(Arc::new)), session, guest }
    }

    fn is_planned(&self) -> bool {
        self.of.domain.context.control.is_plan()
    }

    fn running(&self) -> Result<Arc<Builder>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().ok_or_else(|| Error::failed(format!("this fork of {} is closed", self.of)))
    }

    /// Ends the fork, beside the script.
    fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            self.of.domain.context.endings.end(running);
        }
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        self.close();
    }
}

impl InGuest for Fork {
    fn guest(&self) -> Result<Guest> {
        if !self.is_planned() {
            self.running()?;
        }
        Ok(self.guest.clone())
    }
}

const KNOWN: [&str; 5] = ["name", "parent", "forward", "snapshot", "close"];

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
        methods.add_async_method("forward", |_, this, port: Value| async move {
            let port = whole_number("fork:forward", "the port", &port)?;
            let port = port.and_then(|port| u16::try_from(port).ok());
            let port = port.ok_or_else(|| Error::failed("fork:forward: a port is a number from 1 to 65535"))?;
            if this.is_planned() {
                return Ok(port);
            }
            let running = this.running()?;
            Ok(this.of.blocking(move |engine, _| engine.forward(&running, port)).await?)
        });
        methods.add_async_method("snapshot", |lua, this, (name, options): (String, Value)| async move {
            let comment = Options::read("fork:snapshot", options, &["comment"])?.string("comment")?.unwrap_or_default();
            let name = SnapshotName::new(name)?;
            let domain = &this.of.domain;
            domain.context.declare(&lua, &domain.name, Some(&name))?;
            if this.is_planned() {
                return Ok(Snapshot::not_planned(domain, name));
            }
            let wanted = Wanted { comment, ..Wanted::new(name) };
            let (running, session, parent) = (this.running()?, Arc::clone(&this.session), this.of.node().await?);
            let keep = move |engine: &Engine, _: &_| engine.keep_fork(&running, &parent, &wanted, session.journal());
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
