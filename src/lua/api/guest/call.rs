//! The call that repeats an operation, as a recipe has it.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::hypervisor::{CommandLine, FileMode};
use crate::lua::runtime::contents::Contents;
use crate::lua::value::show::{key, options, quoted};
use crate::tree::{Content, Operation, Outcome, Payload};

/// Writes the call that repeats an operation.
pub fn call_of(operation: &Operation, outcome: &Outcome, took: Duration, contents: &Contents) -> Result<String> {
    const LONG_RUN: Duration = Duration::from_secs(30 * 60);
    const LONG_WAIT: Duration = Duration::from_secs(2 * 60);
    let timeout = |long: Duration| (took > long).then(|| format!("timeout = {}", took.as_secs() * 3));
    let text = |word: &str| quoted(word.as_bytes());
    let wait = |name: &str, what: String| format!("{name}({what}{})", options(&[timeout(LONG_WAIT)]));
    Ok(match operation {
        Operation::Run { command, stdin, env, cwd, user } => {
            let stdin = stdin.as_ref().map(|content| bytes_of(content, contents)).transpose()?;
            let has_failed = matches!(outcome, Outcome::Exit { status, .. } if *status != 0);
            let env: Vec<String> = env.iter().map(|(name, value)| format!("{} = {}", key(name), text(value))).collect();
            let options = options(&[
                has_failed.then(|| "check = false".to_string()),
                stdin.map(|bytes| format!("stdin = {bytes}")),
                (!env.is_empty()).then(|| format!("env = {{ {} }}", env.join(", "))),
                cwd.as_ref().map(|cwd| format!("cwd = {}", text(cwd))),
                user.as_ref().map(|user| format!("user = {}", text(user))),
                timeout(LONG_RUN),
            ]);
            match options.is_empty() {
                true => format!("run {}", written(command)),
                false => format!("run({}{options})", written(command)),
            }
        }
        Operation::Write { path, content, mode } => {
            let options = options(&mode_options(mode));
            match contents.find(content) {
                Some(Payload::From(host)) => {
                    format!("push({}, {}{options})", text(&host.to_string_lossy()), text(path))
                }
                _ => format!("write({}, {}{options})", text(path), bytes_of(content, contents)?),
            }
        }
        Operation::Read { .. } => pull_or_read(operation, outcome, timeout(LONG_RUN)),
        Operation::Push { path, tree, owner, preserve } => {
            let (host, exclude) = directory_of(tree, contents)?;
            let options = options(&[
                owner.as_ref().map(|owner| format!("owner = {}", text(owner))),
                preserve.then(|| "preserve = true".to_string()),
                exclude,
                timeout(LONG_RUN),
            ]);
            format!("push({host}, {}{options})", text(path))
        }
        Operation::SyncDir { path, tree, delete, .. } => {
            let (host, exclude) = directory_of(tree, contents)?;
            let options = options(&[delete.then(|| "delete = true".to_string()), exclude, timeout(LONG_RUN)]);
            format!("sync_dir({host}, {}{options})", text(path))
        }
        Operation::WaitForUnit { unit } => wait("wait_for_unit", text(unit)),
        Operation::WaitForPort { port } => wait("wait_for_port", port.to_string()),
        Operation::WaitForFile { path } => wait("wait_for_file", text(path)),
        Operation::WaitUntilSucceeds { command } => wait("wait_until_succeeds", written(command)),
        Operation::Expect { pattern } => wait("expect", text(pattern)),
        Operation::Send { text: typed } => format!("send {}", text(typed)),
        Operation::Screen => "screen()".to_string(),
        Operation::Reboot => "reboot()".to_string(),
        Operation::Sync => "sync()".to_string(),
        Operation::Time => "time()".to_string(),
        Operation::Info => "info()".to_string(),
    })
}

/// Writes content that went into a guest, if it is known.
fn bytes_of(content: &Content, contents: &Contents) -> Result<String> {
    match contents.find(content) {
        Some(Payload::Bytes(bytes)) => Ok(quoted(&bytes)),
        _ => Err(unknown()),
    }
}

/// A file is read. A directory is copied to the host under its own name: where it was copied to is not in a journal.
fn pull_or_read(operation: &Operation, outcome: &Outcome, timeout: Option<String>) -> String {
    let Operation::Read { path, exclude, preserve } = operation else { return String::new() };
    let path_text = quoted(path.as_bytes());
    if !matches!(outcome, Outcome::Directory(_)) && exclude.is_empty() && !preserve {
        return format!("read {path_text}");
    }
    let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("root");
    let options = options(&[preserve.then(|| "preserve = true".to_string()), exclude_option(exclude), timeout]);
    format!("pull({path_text}, {}{options})", quoted(name.as_bytes()))
}

fn exclude_option(patterns: &[String]) -> Option<String> {
    let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern.as_bytes())).collect();
    (!patterns.is_empty()).then(|| format!("exclude = {{ {} }}", patterns.join(", ")))
}

/// Writes the host directory that went into a guest, if it is known, and the option for what was left out.
fn directory_of(tree: &Content, contents: &Contents) -> Result<(String, Option<String>)> {
    match contents.find(tree) {
        Some(Payload::Directory(listing)) => {
            Ok((quoted(listing.root.as_os_str().as_encoded_bytes()), exclude_option(&listing.excluded)))
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::failed("a journal keeps only the digest of what went into the guest")
        .hint("only what was written at this prompt, or by its script, is known: `snaptree repl SCRIPT`")
}

fn written(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(line) => quoted(line.as_bytes()),
        CommandLine::Argv(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word.as_bytes())).collect();
            format!("{{ {} }}", words.join(", "))
        }
    }
}

fn mode_options(mode: &FileMode) -> [Option<String>; 2] {
    [
        mode.mode.map(|mode| format!("mode = \"{mode:04o}\"")),
        mode.owner.as_ref().map(|owner| format!("owner = {}", quoted(owner.as_bytes()))),
    ]
}
