//! Converts between Lua's errors and ours: a failure in Rust keeps its kind, its hint and the user's line.

use mlua::Value;

use crate::error::Error;
use crate::lua::stdlib::STDLIB;
use crate::tree::did_you_mean;

impl From<Error> for mlua::Error {
    fn from(error: Error) -> Self {
        mlua::Error::external(error)
    }
}

/// Turns the Lua error that ended a script into an error of ours.
pub fn from_lua(error: &mlua::Error) -> Error {
    match error {
        mlua::Error::CallbackError { traceback, cause } => located(from_lua(cause), traceback),
        mlua::Error::ExternalError(external) => {
            if let Some(ours) = external.downcast_ref::<Error>() {
                ours.clone()
            } else if let Some(inner) = external.downcast_ref::<mlua::Error>() {
                from_lua(inner)
            } else {
                Error::failed(external.to_string())
            }
        }
        mlua::Error::WithContext { context, cause } => {
            let inner = from_lua(cause);
            Error { message: format!("{context}: {}", inner.message), ..inner }
        }
        mlua::Error::RuntimeError(text) => {
            let (message, traceback) = text.split_once("\nstack traceback:").unwrap_or((text, ""));
            located(said(message), traceback)
        }
        mlua::Error::SyntaxError { message, .. } => said(message),
        mlua::Error::BadArgument { cause, .. } if matches!(**cause, mlua::Error::ExternalError(_)) => from_lua(cause),
        mlua::Error::BadArgument { to: Some(to), name: Some(name), .. } if name == "self" => {
            let (object, method) = as_called(to);
            Error::failed(format!("`{method}` was not called on a {object}"))
                .hint(format!("{object}:{method}(...), with a colon"))
        }
        mlua::Error::BadArgument { to, pos, cause, .. } => {
            let inner = from_lua(cause);
            let (to, pos) = match to.as_deref().map(as_called) {
                // The receiver of a method counts as its first argument.
                Some((object, method)) => (format!("`{object}:{method}`"), pos.saturating_sub(1)),
                None => ("this function".to_string(), *pos),
            };
            Error::failed(format!("bad argument #{pos} to {to}")).cause(inner.message)
        }
        // Only invalid UTF-8 makes Rust refuse a string where it wants one.
        mlua::Error::FromLuaConversionError { from: "string", to, .. } if in_lua(to) == "string" => {
            Error::failed("expected text in UTF-8, got bytes that are not")
        }
        mlua::Error::FromLuaConversionError { from, to, message } => {
            let error = Error::failed(format!("expected {}, got {from}", in_lua(to)));
            match message {
                Some(message) => error.cause(message),
                None => error,
            }
        }
        other => Error::failed(other.to_string()),
    }
}

/// Returns how a script writes a method of ours, which mlua calls `Type.method`.
fn as_called(method: &str) -> (String, &str) {
    let (object, method) = method.rsplit_once('.').unwrap_or(("value", method));
    (object.to_lowercase(), method)
}

/// Returns Lua's name of a Rust type.
fn in_lua(rust: &str) -> &str {
    match rust {
        "String" | "&str" | "BString" | "PathBuf" => "string",
        "i64" | "u64" => "whole number",
        "Table" => "table",
        other => other,
    }
}

/// Describes the type of a value, for an error that expected another one.
pub fn kind_of(value: &Value) -> String {
    with_article(value.type_name())
}

/// Puts an article before the name of a type.
pub fn with_article(name: &str) -> String {
    match name {
        "nil" => "nil".to_string(),
        name if name.starts_with(['a', 'e', 'i', 'o']) => format!("an {name}"),
        name => format!("a {name}"),
    }
}

/// The error for a field that a value does not have, which Lua would read as nil.
pub fn no_such_field(what: &str, key: &Value, known: &[&str]) -> mlua::Error {
    let key = key.to_string().unwrap_or_default();
    let others = || format!("it has: {}", known.join(", "));
    Error::failed(format!("{what} has no `{key}`")).hint(did_you_mean(&key, known.iter().copied(), others)).into()
}

/// The error for setting a read-only field.
pub fn read_only(what: &str, key: &Value) -> mlua::Error {
    let key = key.to_string().unwrap_or_default();
    Error::failed(format!("`{key}` of {what} cannot be set")).into()
}

/// Parses a message of Lua's own: `script.lua:12: what`.
pub fn said(message: &str) -> Error {
    let (place, rest) = match split_place(message) {
        Some((place, rest)) => (Some(place), rest),
        None => (None, message),
    };
    let mut lines = rest.lines();
    let mut error = Error::failed(lines.next().unwrap_or_default().trim());
    for line in lines {
        match line.strip_prefix("hint: ") {
            Some(hint) => error.hint = Some(hint.to_string()),
            None => error.output.push(line.trim_start_matches("  | ").to_string()),
        }
    }
    error.location = place.filter(|place| !place.starts_with(STDLIB)).map(str::to_string);
    if rest == "not enough memory" {
        error.hint = Some("a script may take half of the memory that is free when it begins".into());
    }
    if rest.contains("attempt to yield across a C-call boundary") {
        error.message = "a call that waits for a guest was made where Lua cannot wait".to_string();
        error.hint = Some("such places are callbacks of table.sort and string.gsub: make the call outside them".into());
    }
    error
}

fn split_place(message: &str) -> Option<(&str, &str)> {
    let (end, _) = message.match_indices(": ").find(|(end, _)| {
        let place = &message[..*end];
        place.rsplit_once(':').is_some_and(|(file, line)| !file.is_empty() && line.parse::<u32>().is_ok())
    })?;
    Some((&message[..end], &message[end + 2..]))
}

/// Adds the user's own frames of a traceback to an error that has no place yet.
pub fn located(mut error: Error, traceback: &str) -> Error {
    if error.location.is_none() {
        let mut frames = frames(traceback).into_iter();
        error.location = frames.next();
        error.traceback = frames.collect();
    }
    error
}

/// Lists `file:line` of each frame of the user's own code, innermost first.
fn frames(traceback: &str) -> Vec<String> {
    let mut frames: Vec<String> = traceback
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('[') && !line.starts_with("stack traceback"))
        .filter_map(|line| split_place(line).map(|(place, _)| place.to_string()))
        .filter(|place| !place.contains("__mlua"))
        .collect();
    frames.dedup();
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_luas_own_is_taken_apart() {
        let error = from_lua(&mlua::Error::RuntimeError(
            "a b.lua:12: it: broke\nstack traceback:\n\t[C]: in function 'error'\n\ta b.lua:12: in main chunk".into(),
        ));
        assert_eq!(error.to_string(), "a b.lua:12: it: broke");
    }

    #[test]
    fn a_failure_in_the_stdlib_is_placed_at_the_users_call() {
        let error = from_lua(&mlua::Error::RuntimeError(
            "[stdlib]/images/x.lua:3: images.x: no\nhint: do\nstack traceback:\n\t[C]: in function 'error'\n\t\
             [stdlib]/images/x.lua:3: in function 'f'\n\tmy.lua:7: in main chunk\n\t[C]: in ?"
                .into(),
        ));
        assert_eq!(error.to_string(), "my.lua:7: images.x: no\nhint: do");
    }
}
