//! How an operation differs from the recorded one, and the inputs of a branch from the recorded inputs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::record::host_files::HostFiles;
use crate::tree::record::journal::JournalEntry;
use crate::tree::record::key::NamedInputs;
use crate::tree::record::operation::{Content, Operation, Outcome, Payload, Quoted, Request};

/// Describes the operation that a step asks for now, and the one that was recorded in its place.
pub fn difference(entry: &JournalEntry, now: &Request, inputs: &HostFiles) -> String {
    let was = &entry.operation;
    match (was, &now.operation) {
        (
            Operation::Run { command: old, stdin: old_stdin, env: old_env, cwd: old_cwd, user: old_user },
            Operation::Run { command, stdin, env, cwd, user },
        ) if old == command => {
            let mut changes = vec![changed("user", old_user.as_deref(), user.as_deref())];
            changes.push(changed("cwd", old_cwd.as_deref(), cwd.as_deref()));
            let names = old_env.keys().chain(env.keys().filter(|name| !old_env.contains_key(*name)));
            changes.extend(names.map(|name| {
                let [was, now] = [old_env, env].map(|env| env.get(name).map(String::as_str));
                changed(&format!("env {name}"), was, now)
            }));
            changes.push(match (old_stdin, stdin) {
                (Some(old), Some(new)) if old != new => Some(format!("stdin changed: {}", digests(old, new))),
                (Some(_), None) => Some("stdin is gone".to_string()),
                (None, Some(_)) => Some("stdin is new".to_string()),
                _ => None,
            });
            let changes: Vec<String> = changes.into_iter().flatten().collect();
            format!("run {}: {}", Quoted(command), changes.join(", "))
        }
        (
            Operation::Write { path: old_path, content: old, mode: old_mode },
            Operation::Write { path, content, mode },
        ) if old_path == path => {
            let octal = |mode: Option<u32>| mode.map(|mode| format!("{mode:04o}"));
            let file = match &now.payload {
                Payload::From(host) => host.display().to_string(),
                _ => inputs.file_of(content).unwrap_or_else(|| path.clone()),
            };
            let mut changes = Vec::new();
            if old != content {
                changes.push(format!("file {file} changed: {}", digests(old, content)));
            }
            let options = [
                changed("mode", octal(old_mode.mode).as_deref(), octal(mode.mode).as_deref()),
                changed("owner", old_mode.owner.as_deref(), mode.owner.as_deref()),
            ];
            let place = if changes.is_empty() { format!("write {path}: ") } else { String::new() };
            changes.extend(options.into_iter().flatten());
            format!("{place}{}", changes.join(", "))
        }
        (Operation::Push { .. }, Operation::Push { .. }) | (Operation::SyncDir { .. }, Operation::SyncDir { .. }) => {
            of_directories(entry, now).unwrap_or_else(|| format!("{} was {was}", now.operation))
        }
        (Operation::Run { command: old, .. }, Operation::Run { command, .. })
            if only_command(was) && only_command(&now.operation) =>
        {
            format!("run {} was {}", Quoted(command), Quoted(old))
        }
        (was, now) => format!("{now} was {was}"),
    }
}

/// Describes how a directory that goes to the same place differs.
fn of_directories(entry: &JournalEntry, now: &Request) -> Option<String> {
    match (&entry.operation, &now.operation) {
        (
            Operation::Push { path: old_path, tree: old, owner: old_owner, preserve: was_preserved },
            Operation::Push { path, tree, owner, preserve },
        ) if (old_path, was_preserved) == (path, preserve) => {
            let content = (old != tree).then(|| directory_difference(entry, old, tree, &now.payload));
            let owner = changed("owner", old_owner.as_deref(), owner.as_deref());
            Some(format!("push {path}: {}", content.into_iter().chain(owner).collect::<Vec<_>>().join(", ")))
        }
        (
            Operation::SyncDir { path: old_path, tree: old, delete: deleted, exclude: excluded },
            Operation::SyncDir { path, tree, delete, exclude },
        ) if (old_path, deleted, excluded) == (path, delete, exclude) => {
            Some(format!("sync {path}: {}", directory_difference(entry, old, tree, &now.payload)))
        }
        _ => None,
    }
}

/// Names what changed in a directory, as far as the journal tells.
fn directory_difference(entry: &JournalEntry, old: &Content, new: &Content, payload: &Payload) -> String {
    /// How many changes are named.
    const MOST: usize = 3;
    let changed = || format!("the directory changed: {}", digests(old, new));
    let (Outcome::Pushed(was), Payload::Directory(listing)) = (&entry.outcome, payload) else { return changed() };
    let now = listing.marks();
    if was.is_empty() || now.is_empty() {
        return changed();
    }
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let changes = names.into_iter().filter_map(|name| match (was.get(name), now.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(_), Some(_)) => Some(format!("`{name}` changed")),
        (None, _) => Some(format!("`{name}` is new")),
        (_, None) => Some(format!("`{name}` is gone")),
    });
    let changes: Vec<String> = changes.collect();
    let more = changes.len().saturating_sub(MOST);
    let named = changes[..changes.len() - more].join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// Describes which named inputs changed, and how.
pub fn inputs_difference(was: &NamedInputs, now: &NamedInputs) -> Option<String> {
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let change = |name: &String| match (was.get(name), now.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(Value::String(old)), Some(Value::String(new))) if is_long(old) || is_long(new) => {
            let [old, new] = [old, new].map(|text| Content::of(text.as_bytes()));
            Some(format!("input {name:?} changed: {}", digests(&old, &new)))
        }
        (Some(old), Some(new)) => Some(format!("input {name:?} was {old}, is now {new}")),
        (None, _) => Some(format!("input {name:?} is new")),
        (_, None) => Some(format!("input {name:?} is gone")),
    };
    let changes: Vec<String> = names.into_iter().filter_map(change).collect();
    (!changes.is_empty()).then(|| changes.join(", "))
}

/// Returns whether a text is too long for a line of an explanation.
fn is_long(text: &str) -> bool {
    const MOST: usize = 60;
    text.len() > MOST || text.contains('\n')
}

/// Returns whether a `run` has nothing but its command.
fn only_command(operation: &Operation) -> bool {
    matches!(operation, Operation::Run { stdin: None, env, cwd: None, user: None, .. } if env.is_empty())
}

fn changed(what: &str, was: Option<&str>, now: Option<&str>) -> Option<String> {
    let shown = |value: Option<&str>| value.map_or("none".to_string(), |value| format!("{value:?}"));
    (was != now).then(|| format!("{what} {} was {}", shown(now), shown(was)))
}

/// Abbreviates two digests as far as they still differ, down to a length that is easy to read.
fn digests(was: &Content, now: &Content) -> String {
    const SHORTEST: usize = 4;
    let same = was.digest.bytes().zip(now.digest.bytes()).take_while(|(a, b)| a == b).count();
    let short = |content: &Content| content.digest.get(..SHORTEST.max(same + 1)).unwrap_or(&content.digest).to_string();
    format!("{}.. -> {}..", short(was), short(now))
}
