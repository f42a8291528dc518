//! Files and directories copied into the guest and out of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, UserDataMethods, Value};

use crate::error::{Because, Error, Result};
use crate::hypervisor::FileMode;
use crate::lua::api::guest::{GuestPath, RUN_LIMIT, WAIT_LIMIT, unexpected};
use crate::lua::handle::guest::{Guest, InGuest};
use crate::lua::value::options::Options;
use crate::tree::{Content, Exclude, Listing, Operation, Outcome, Payload, Reading, Request, usual_mode};

/// Files copied into the guest and out of it.
pub fn add_files<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method(
        "write",
        |lua, this, (path, text, options): (GuestPath, mlua::LuaString, Value)| async move {
            let options = Options::read("guest:write", options, &["mode", "owner", "timeout"])?;
            let bytes = text.as_bytes().to_vec();
            let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
            let mode = file_mode(&options)?;
            Ok(write(&this.guest()?, &lua, path.0, Content::of(&bytes), Payload::Bytes(bytes), mode, limit).await?)
        },
    );
    methods.add_async_method("push", |lua, this, (host, path, options): (PathBuf, GuestPath, Value)| async move {
        let options = Options::read("guest:push", options, &["mode", "owner", "preserve", "exclude", "timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(RUN_LIMIT);
        if host.is_dir() {
            let request = push_directory(host, path.0, &options, limit)?;
            this.guest()?.perform(&lua, request).await?;
            return Ok(());
        }
        not_for_files(&options, &host)?;
        let mut mode = file_mode(&options)?;
        let cannot = || format!("cannot read `{}`", host.display());
        mode.mode = Some(mode.mode.unwrap_or(usual_mode(&host.metadata().because(cannot)?)));
        let content = Content::of_file(&host).because(cannot)?;
        Ok(write(&this.guest()?, &lua, path.0, content, Payload::From(host), mode, limit).await?)
    });
    methods.add_async_method("sync_dir", |lua, this, (host, path, options): (PathBuf, GuestPath, Value)| async move {
        let options = Options::read("guest:sync_dir", options, &["delete", "exclude", "timeout"])?;
        let request = sync_directory(host, path.0, &options)?;
        this.guest()?.perform(&lua, request).await?;
        Ok(())
    });
    methods.add_async_method("read", |lua, this, (path, options): (GuestPath, Value)| async move {
        let options = Options::read("guest:read", options, &["timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        let operation = Operation::Read { path: path.0, exclude: Vec::new(), preserve: false };
        match read(&this.guest()?, &lua, operation, Payload::Nothing, limit).await? {
            Outcome::Content(content) => lua.create_string(content.0),
            other => Err(unexpected(&other)),
        }
    });
    methods.add_async_method("pull", |lua, this, (path, host, options): (GuestPath, PathBuf, Value)| async move {
        let options = Options::read("guest:pull", options, &["preserve", "exclude", "timeout"])?;
        let limit = options.duration("timeout")?.unwrap_or(RUN_LIMIT);
        let (exclude, preserve) = (options.texts("exclude")?, options.flag("preserve")?);
        Exclude::new(&exclude).map_err(|error| of_call(&options, error))?;
        let operation = Operation::Read { path: path.0, exclude, preserve };
        read(&this.guest()?, &lua, operation, Payload::Into(host), limit).await?;
        Ok(())
    });
}

async fn write(
    guest: &Guest,
    lua: &Lua,
    path: String,
    content: Content,
    payload: Payload,
    mode: FileMode,
    limit: Duration,
) -> Result<()> {
    let operation = Operation::Write { path, content, mode };
    guest.perform(lua, Request { operation, payload, timeout: limit, check: true, retry_on: Vec::new() }).await?;
    Ok(())
}

async fn read(guest: &Guest, lua: &Lua, operation: Operation, payload: Payload, limit: Duration) -> Result<Outcome> {
    guest.perform(lua, Request { operation, payload, timeout: limit, check: true, retry_on: Vec::new() }).await
}

fn file_mode(options: &Options) -> Result<FileMode> {
    Ok(FileMode { mode: options.mode("mode")?, owner: options.string("owner")? })
}

/// Reads the host's directory, which is to be sent as it is now.
fn push_directory(host: PathBuf, path: String, options: &Options, limit: Duration) -> Result<Request> {
    if options.mode("mode")?.is_some() {
        let why = format!("`mode` is for files, and `{}` is a directory", host.display());
        return Err(Error::failed(format!("{}: {why}", options.function())).hint("`preserve = true` keeps the modes"));
    }
    let (owner, preserve) = (options.string("owner")?, options.flag("preserve")?);
    if owner.is_some() && preserve {
        return Err(options.conflict("owner", "preserve"));
    }
    let exclude = exclude(options)?;
    let reading = Reading { exclude, keeps_modes: preserve, keeps_owners: preserve, ..Reading::default() };
    let listing = Listing::of(&host, &reading)?;
    let operation = Operation::Push { path, tree: Content::of_directory(&listing), owner, preserve };
    Ok(request(operation, Payload::Directory(Arc::new(listing)), limit))
}

fn sync_directory(host: PathBuf, path: String, options: &Options) -> Result<Request> {
    let limit = options.duration("timeout")?.unwrap_or(RUN_LIMIT);
    let (delete, exclude) = (options.flag("delete")?, exclude(options)?);
    if host.metadata().because(|| format!("cannot read `{}`", host.display()))?.is_file() {
        return Err(Error::failed(format!("{}: `{}` is a file", options.function(), host.display()))
            .hint("`guest:push` sends a file"));
    }
    let listing = Listing::of(&host, &Reading { exclude, ..Reading::default() })?;
    let tree = Content::of_directory(&listing);
    let exclude = if delete { options.texts("exclude")? } else { Vec::new() };
    Ok(request(Operation::SyncDir { path, tree, delete, exclude }, Payload::Directory(Arc::new(listing)), limit))
}

fn request(operation: Operation, payload: Payload, timeout: Duration) -> Request {
    Request { operation, payload, timeout, check: true, retry_on: Vec::new() }
}

fn exclude(options: &Options) -> Result<Exclude> {
    Exclude::new(&options.texts("exclude")?).map_err(|error| of_call(options, error))
}

/// Names the call in an error.
fn of_call(options: &Options, error: Error) -> Error {
    Error { message: format!("{}: {}", options.function(), error.message), ..error }
}

fn not_for_files(options: &Options, host: &Path) -> Result<()> {
    match ["exclude", "preserve"].into_iter().find(|name| options.get(name).is_some()) {
        Some(name) if host.exists() => {
            let why = format!("`{name}` is for directories, and `{}` is a file", host.display());
            Err(Error::failed(format!("{}: {why}", options.function())))
        }
        _ => Ok(()),
    }
}
