//! `guest`: operations in the system inside a builder, a fork or a machine.

mod call;
mod files;

use std::time::Duration;

use mlua::{FromLua, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value, Variadic};

use crate::error::{Error, Result};
use crate::hypervisor::CommandLine;
use crate::lua::handle::guest::{Guest, InGuest};
use crate::lua::value::error::kind_of;
use crate::lua::value::options::Options;
use crate::tree;
use crate::tree::{Content, Operation, Outcome, Payload, Request};

pub use call::call_of;

/// How long a command may take when the script does not say.
const RUN_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long everything else may take when the script does not say.
const WAIT_LIMIT: Duration = Duration::from_secs(5 * 60);

async fn wait(guest: &Guest, lua: &Lua, operation: Operation, options: Options) -> Result<()> {
    let timeout = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
    guest
        .perform(lua, Request { operation, payload: Payload::Nothing, timeout, check: true, retry_on: Vec::new() })
        .await?;
    Ok(())
}

async fn run(guest: &Guest, lua: &Lua, command: CommandLine, options: Options) -> Result<Outcome> {
    let stdin = options.bytes("stdin")?;
    let operation = Operation::Run {
        command,
        stdin: stdin.as_deref().map(Content::of),
        env: options.map("env")?,
        cwd: options.string("cwd")?,
        user: options.string("user")?,
    };
    guest
        .perform(
            lua,
            Request {
                operation,
                payload: stdin.map_or(Payload::Nothing, Payload::Bytes),
                timeout: options.duration("timeout")?.unwrap_or(RUN_LIMIT),
                check: options.boolean("check")?.unwrap_or(true),
                retry_on: options.texts("retry_on")?,
            },
        )
        .await
}

/// An absolute path in the guest.
struct GuestPath(String);

impl FromLua for GuestPath {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let path = String::from_lua(value, lua)?;
        if path.starts_with('/') {
            return Ok(Self(path));
        }
        Err(Error::failed(format!("`{path}` is not an absolute path in the guest")).hint("start it with /").into())
    }
}

/// A command in one of its two forms: a line for the shell, or a list of words.
struct AnyCommand(CommandLine);

impl FromLua for AnyCommand {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<Self> {
        let wrong = |what: &str| {
            Error::failed(format!("a command is a string or a list of strings, not {what}")).hint(
                "guest:run \"ls /\", or guest:run { \"ls\", \"/\" }; options come after it, in a table of their own",
            )
        };
        match value {
            Value::String(line) if !line.to_string_lossy().trim().is_empty() => {
                Ok(Self(CommandLine::Shell(line.to_string_lossy())))
            }
            Value::String(_) => Err(wrong("an empty string").into()),
            Value::Table(table) => {
                let mut argv = Vec::with_capacity(table.raw_len());
                for pair in table.pairs::<Value, Value>() {
                    match pair? {
                        (Value::Integer(_), Value::String(word)) => argv.push(word.to_string_lossy()),
                        (Value::Integer(_), Value::Integer(number)) => argv.push(number.to_string()),
                        (Value::Integer(n), other) => {
                            return Err(wrong(&format!("a list whose word {n} is {}", kind_of(&other))).into());
                        }
                        (key, _) => return Err(wrong(&format!("a table with the key `{}`", key.to_string()?)).into()),
                    }
                }
                if argv.is_empty() { Err(wrong("an empty list").into()) } else { Ok(Self(CommandLine::Argv(argv))) }
            }
            other => Err(wrong(&kind_of(&other)).into()),
        }
    }
}

fn unexpected(outcome: &Outcome) -> mlua::Error {
    Error::bug(format!("an operation gave {outcome:?}")).into()
}

impl UserData for Guest {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "guest");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_methods(methods);
    }
}

/// The methods that all of them have.
pub const METHODS: [&str; 17] = [
    "run",
    "write",
    "read",
    "push",
    "pull",
    "sync_dir",
    "wait_for_unit",
    "wait_for_port",
    "wait_for_file",
    "wait_until_succeeds",
    "expect",
    "send",
    "screen",
    "reboot",
    "sync",
    "time",
    "info",
];

pub fn add_methods<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    add_commands(methods);
    files::add_files(methods);
    add_waits(methods);
    add_console(methods);
    add_questions(methods);
}

/// Commands.
fn add_commands<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("run", |lua, this, (command, options): (AnyCommand, Value)| async move {
        let known = ["check", "stdin", "env", "cwd", "user", "timeout", "retry_on"];
        let options = Options::read("guest:run", options, &known)?;
        match run(&this.guest()?, &lua, command.0, options).await? {
            Outcome::Exit { status, stdout, stderr } => exit_table(&lua, status, &stdout.0, &stderr.0, T::STREAMS),
            other => Err(unexpected(&other)),
        }
    });
    methods.add_async_method("wait_until_succeeds", |lua, this, (command, options): (AnyCommand, Value)| async move {
        let options = Options::read("guest:wait_until_succeeds", options, &["timeout"])?;
        Ok(wait(&this.guest()?, &lua, Operation::WaitUntilSucceeds { command: command.0 }, options).await?)
    });
}

/// Waiting.
fn add_waits<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("wait_for_unit", |lua, this, (unit, options): (String, Value)| async move {
        let options = Options::read("guest:wait_for_unit", options, &["timeout"])?;
        Ok(wait(&this.guest()?, &lua, Operation::WaitForUnit { unit }, options).await?)
    });
    methods.add_async_method("wait_for_port", |lua, this, (port, options): (i64, Value)| async move {
        let options = Options::read("guest:wait_for_port", options, &["timeout"])?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Error::failed("guest:wait_for_port: a port is a number from 1 to 65535"))?;
        Ok(wait(&this.guest()?, &lua, Operation::WaitForPort { port }, options).await?)
    });
    methods.add_async_method("wait_for_file", |lua, this, (path, options): (GuestPath, Value)| async move {
        let options = Options::read("guest:wait_for_file", options, &["timeout"])?;
        Ok(wait(&this.guest()?, &lua, Operation::WaitForFile { path: path.0 }, options).await?)
    });
    methods.add_async_method("reboot", |lua, this, options: Value| async move {
        let options = Options::read("guest:reboot", options, &["timeout"])?;
        Ok(wait(&this.guest()?, &lua, Operation::Reboot, options).await?)
    });
    methods.add_async_method("sync", |lua, this, options: Value| async move {
        let options = Options::read("guest:sync", options, &["timeout"])?;
        Ok(wait(&this.guest()?, &lua, Operation::Sync, options).await?)
    });
}

/// The serial console.
fn add_console<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("expect", |lua, this, (pattern, options): (String, Value)| async move {
        let options = Options::read("guest:expect", options, &["timeout"])?;
        tree::pattern(&pattern)
            .map_err(|error| Error { message: format!("guest:expect: {}", error.message), ..error })?;
        let timeout = options.duration("timeout")?.unwrap_or(WAIT_LIMIT);
        let request = Request { timeout, ..plain(Operation::Expect { pattern }) };
        match this.guest()?.perform(&lua, request).await? {
            Outcome::Matched(captures) => Ok(Variadic::from(captures)),
            other => Err(unexpected(&other)),
        }
    });
    methods.add_async_method("send", |lua, this, text: String| async move {
        this.guest()?.perform(&lua, plain(Operation::Send { text })).await?;
        Ok(())
    });
    methods.add_async_method("screen", |lua, this, ()| async move {
        match this.guest()?.perform(&lua, plain(Operation::Screen)).await? {
            Outcome::Content(text) => lua.create_string(text.0),
            other => Err(unexpected(&other)),
        }
    });
}

/// What the guest reports about itself.
fn add_questions<T: InGuest, M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_async_method("time", |lua, this, ()| async move {
        match this.guest()?.perform(&lua, plain(Operation::Time)).await? {
            Outcome::Clock(seconds) => Ok(seconds),
            other => Err(unexpected(&other)),
        }
    });
    methods.add_async_method("info", |lua, this, ()| async move {
        match this.guest()?.perform(&lua, plain(Operation::Info)).await? {
            Outcome::Facts(facts) => lua.create_table_from(facts),
            other => Err(unexpected(&other)),
        }
    });
}

fn plain(operation: Operation) -> Request {
    Request { operation, payload: Payload::Nothing, timeout: WAIT_LIMIT, check: true, retry_on: Vec::new() }
}

/// The key that marks results whose output was already shown as it came.
pub const STREAMED: &str = "snaptree.streamed";

fn exit_table(lua: &Lua, status: i32, stdout: &[u8], stderr: &[u8], streamed: bool) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("status", status)?;
    table.set("ok", status == 0)?;
    table.set("stdout", lua.create_string(stdout)?)?;
    table.set("stderr", lua.create_string(stderr)?)?;
    if streamed {
        table.set_metatable(Some(mark(lua)?))?;
    }
    Ok(table)
}

fn mark(lua: &Lua) -> mlua::Result<Table> {
    match lua.named_registry_value::<Value>(STREAMED)? {
        Value::Table(mark) => Ok(mark),
        _ => {
            let mark = lua.create_table()?;
            lua.set_named_registry_value(STREAMED, &mark)?;
            Ok(mark)
        }
    }
}
