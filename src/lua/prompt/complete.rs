//! Completion and hints: what could come at the cursor.

use std::collections::BTreeSet;
use std::path::Path;

use mlua::Value;

use crate::lua::api::require;
use crate::lua::manual::{Entry, Kind, Manual};
use crate::lua::prompt::dot;
use crate::lua::prompt::prompt::Prompt;
use crate::lua::runtime::ask::Completion;
use crate::lua::value::show::is_name;
use crate::lua::value::tokens::{KEYWORDS, Kind as Word, Token, tokens};

/// Functions whose string argument is a file of the host.
const OF_FILES: [&str; 9] = ["push", "pull", "sync_dir", "file", "screenshot", "dofile", "loadfile", "read", "glob"];
/// Functions whose string argument is a machine, or a snapshot of one.
const OF_PLACES: [&str; 5] = ["use", "revert", "open", "tree", "undo"];

/// The text before the cursor.
struct Typed<'a> {
    prompt: &'a Prompt,
    text: &'a str,
    tokens: Vec<Token>,
}

pub fn complete(prompt: &Prompt, line: &str, at: usize) -> Completion {
    let text = &line[..at];
    if dot::is_command(text) || text.trim_start() == "." {
        return command(prompt, text);
    }
    Typed { prompt, text, tokens: tokens(text) }.complete()
}

/// Shows the parameters of the function whose arguments are being typed.
pub fn hint(prompt: &Prompt, line: &str, at: usize) -> Option<String> {
    let typed = Typed { prompt, text: line.get(..at).filter(|text| *text == line)?, tokens: tokens(line) };
    let last = typed.tokens.len().checked_sub(1)?;
    if typed.word(last) != "(" || typed.tokens[last].at.end != line.len() {
        return None;
    }
    let signature = Manual::embedded().entry(&typed.function_before(last)?)?.signature();
    signature.split_once('(').map(|(_, rest)| rest.to_string())
}

fn command(prompt: &Prompt, text: &str) -> Completion {
    let trimmed = text.trim_start();
    let Some((name, argument)) = trimmed.split_once(char::is_whitespace) else {
        let names = dot::COMMANDS.iter().map(|(name, ..)| name.to_string());
        return from(text.len() - trimmed.len(), trimmed, names);
    };
    let argument = argument.trim_start();
    let start = text.len() - argument.len();
    match name {
        ".load" | ".save" => files(start, argument),
        ".tree" => from(start, argument, prompt.machines().into_iter()),
        ".help" => from(start, argument, Manual::embedded().names().map(str::to_string)),
        ".time" => {
            let inner = complete(prompt, argument, argument.len());
            Completion { start: inner.start + start, ..inner }
        }
        _ => Completion { start, candidates: Vec::new() },
    }
}

/// Keeps the candidates that begin with the typed text, sorted and without duplicates.
fn from(start: usize, typed: &str, candidates: impl Iterator<Item = String>) -> Completion {
    let candidates: BTreeSet<String> = candidates.filter(|candidate| candidate.starts_with(typed)).collect();
    Completion { start, candidates: candidates.into_iter().collect() }
}

fn files(start: usize, typed: &str) -> Completion {
    let (directory, begun) = typed.rsplit_once('/').map_or(("", typed), |(directory, begun)| (directory, begun));
    let place = match (directory, typed.starts_with('/')) {
        ("", true) => Path::new("/"),
        ("", false) => Path::new("."),
        (directory, _) => Path::new(directory),
    };
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let end = if entry.path().is_dir() { "/" } else { "" };
        (!name.starts_with('.') || begun.starts_with('.')).then(|| format!("{name}{end}"))
    });
    from(start + typed.len() - begun.len(), begun, names)
}

impl Typed<'_> {
    fn word(&self, n: usize) -> &str {
        self.tokens.get(n).map_or("", |token| &self.text[token.at.clone()])
    }

    fn kind(&self, n: usize) -> Option<Word> {
        self.tokens.get(n).map(|token| token.kind)
    }

    fn complete(&self) -> Completion {
        let Some(last) = self.tokens.len().checked_sub(1) else { return self.names(0, "") };
        let touches = self.tokens[last].at.end == self.text.len();
        if touches && self.kind(last) == Some(Word::Text) && self.is_open(last) {
            return self.in_text(last);
        }
        if touches && self.kind(last) == Some(Word::Comment) {
            return Completion { start: self.text.len(), candidates: Vec::new() };
        }
        let is_begun = touches && matches!(self.kind(last), Some(Word::Name | Word::Keyword));
        let (start, begun) =
            if is_begun { (self.tokens[last].at.start, self.word(last)) } else { (self.text.len(), "") };
        // The word before the one that is being typed.
        let Some(before) = (if is_begun { last.checked_sub(1) } else { Some(last) }) else {
            return self.names(start, begun);
        };
        match self.word(before) {
            "." | ":" if before > 0 => self.members(before, start, begun),
            "{" | "," => match self.options(before) {
                Some(options) => from(start, begun, options.into_iter()),
                None => self.names(start, begun),
            },
            _ => self.names(start, begun),
        }
    }

    /// Says whether a string is not closed yet.
    fn is_open(&self, n: usize) -> bool {
        let word = self.word(n);
        match word.chars().next() {
            Some('[') => !word.ends_with(']'),
            Some(quote) => word.len() == 1 || !word.ends_with(quote),
            None => false,
        }
    }

    fn in_text(&self, n: usize) -> Completion {
        let word = self.word(n);
        let opening = word.find(|c| !"[=".contains(c)).filter(|_| word.starts_with('[')).unwrap_or(1);
        let (start, begun) = (self.tokens[n].at.start + opening, &word[opening..]);
        let caller = match n.checked_sub(1).map(|before| (before, self.word(before))) {
            Some((before, "(")) => before.checked_sub(1).map(|name| self.word(name)),
            Some((before, ",")) => self.opening_of(before).and_then(|at| at.checked_sub(1)).map(|name| self.word(name)),
            Some((_, name)) => Some(name),
            None => None,
        };
        match caller.unwrap_or_default() {
            "require" => from(start, begun, require::names(&self.prompt.modules_in()).into_iter()),
            caller if OF_FILES.contains(&caller) => files(start, begun),
            "find" => from(start, begun, self.prompt.snapshots_of_all().into_iter()),
            caller if OF_PLACES.contains(&caller) => from(start, begun, self.prompt.places(begun).into_iter()),
            _ if begun.starts_with(['/', '.']) => files(start, begun),
            _ => from(start, begun, self.prompt.places(begun).into_iter()),
        }
    }

    /// Names that can begin a line or an expression.
    fn names(&self, start: usize, begun: &str) -> Completion {
        let globals = self.prompt.lua.globals();
        let tables = [&self.prompt.names, &globals];
        let known = tables.into_iter().flat_map(|table| table.pairs::<Value, Value>().flatten());
        let known =
            known.filter_map(|(name, _)| Some(name.as_string()?.to_string_lossy()).filter(|name| is_name(name)));
        let keywords = KEYWORDS.iter().map(|word| word.to_string());
        // Without a letter, everything would match.
        from(start, begun, known.chain(keywords.filter(|_| !begun.is_empty())))
    }

    /// The members of the value before a dot or a colon.
    fn members(&self, dot: usize, start: usize, begun: &str) -> Completion {
        let methods_only = self.word(dot) == ":";
        let mut members: Vec<String> = Vec::new();
        match self.value_before(dot) {
            Some(Known::Value(Value::Table(table))) => {
                let pairs = table.pairs::<Value, Value>().flatten();
                members.extend(pairs.filter_map(|(name, value)| {
                    let is_wanted = !methods_only || value.is_function();
                    Some(name.as_string()?.to_string_lossy()).filter(|name| is_wanted && is_name(name))
                }));
            }
            Some(Known::Value(Value::String(_))) => return self.of_type("string", methods_only, start, begun),
            Some(Known::Value(Value::UserData(data))) => {
                let kind = data.type_name().map(|name| name.to_string_lossy()).unwrap_or_default();
                return self.of_type(&kind, methods_only, start, begun);
            }
            Some(Known::Type(kind)) => return self.of_type(&kind, methods_only, start, begun),
            Some(Known::Value(_)) | None => {}
        }
        from(start, begun, members.into_iter())
    }

    fn of_type(&self, kind: &str, methods_only: bool, start: usize, begun: &str) -> Completion {
        if kind == "string" {
            let string = self.prompt.lua.globals().get::<mlua::Table>("string");
            let names =
                string.into_iter().flat_map(|table| table.pairs::<String, Value>().flatten().collect::<Vec<_>>());
            return from(start, begun, names.map(|(name, _)| name));
        }
        let members = Manual::embedded().members(kind).into_iter();
        let is_its = |entry: &&Entry| match entry.kind {
            Kind::Method => true,
            Kind::Field => !methods_only,
            _ => false,
        };
        from(start, begun, members.filter(is_its).map(|entry| entry.member().to_string()))
    }

    /// Returns what is known of the value before a dot or a colon.
    fn value_before(&self, dot: usize) -> Option<Known> {
        let end = dot.checked_sub(1)?;
        match self.word(end) {
            ")" | "}" => {
                let function = self.function_before(self.opening_of(end)?)?;
                Some(Known::Type(returned(&function)?))
            }
            _ if self.kind(end) == Some(Word::Text) => match end.checked_sub(1).map(|name| self.kind(name)) {
                Some(Some(Word::Name)) => {
                    let function = self.function_before(end)?;
                    Some(Known::Type(returned(&function)?))
                }
                _ => Some(Known::Type("string".to_string())),
            },
            name if self.kind(end) == Some(Word::Name) => match end.checked_sub(1).map(|before| self.word(before)) {
                Some("." | ":") => match self.value_before(end - 1)? {
                    Known::Value(Value::Table(table)) => table.raw_get(name).ok().map(Known::Value),
                    Known::Value(Value::UserData(data)) => {
                        let kind = data.type_name().ok()?.to_string_lossy();
                        Some(Known::Type(returned(&format!("{kind}:{name}"))?))
                    }
                    Known::Type(kind) => Some(Known::Type(returned(&format!("{kind}:{name}"))?)),
                    Known::Value(_) => None,
                },
                _ => self.prompt.value(name).map(Known::Value),
            },
            _ => None,
        }
    }

    /// Returns the manual's name of the function whose arguments begin at a place.
    fn function_before(&self, opening: usize) -> Option<String> {
        let end = opening.checked_sub(1)?;
        if self.word(end) == "(" {
            return self.function_before(end);
        }
        let name = (self.kind(end) == Some(Word::Name)).then(|| self.word(end))?;
        let Some(dot) = end.checked_sub(1).filter(|before| matches!(self.word(*before), "." | ":")) else {
            return Some(name.to_string());
        };
        let kind = match self.value_before(dot)? {
            Known::Type(kind) => kind,
            Known::Value(Value::UserData(data)) => data.type_name().ok()?.to_string_lossy(),
            Known::Value(_) => return Some(format!("{}.{name}", self.word(dot.checked_sub(1)?))),
        };
        Manual::embedded().entry(&format!("{kind}:{name}")).map(|entry| entry.name.clone())
    }

    /// The possible keys of the table that is being typed, if it is a function's options.
    fn options(&self, before: usize) -> Option<Vec<String>> {
        let opening = if self.word(before) == "{" { before } else { self.opening_of(before)? };
        if self.word(opening) != "{" {
            return None;
        }
        let around = match opening.checked_sub(1).map(|n| self.word(n)) {
            Some(",") => self.opening_of(opening - 1)?,
            _ => opening,
        };
        let options = Manual::embedded().options(&self.function_before(around)?);
        (!options.is_empty()).then(|| options.into_iter().map(|option| format!("{} = ", option.name)).collect())
    }

    /// Returns the bracket that encloses a place.
    fn opening_of(&self, before: usize) -> Option<usize> {
        let mut depth = 0;
        (0..before).rev().find(|n| match (self.kind(*n), self.word(*n)) {
            (Some(Word::Sign), ")" | "}" | "]") => {
                depth += 1;
                false
            }
            (Some(Word::Sign), "(" | "{" | "[") => {
                depth -= 1;
                depth < 0
            }
            _ => false,
        })
    }
}

/// Returns the type of a function's result, or of a field.
fn returned(name: &str) -> Option<String> {
    Some(Manual::embedded().entry(name)?.returns.trim_end_matches('?').to_string())
}

/// What is known of a value without running the user's code.
enum Known {
    Value(Value),
    /// The manual's name of its type.
    Type(String),
}
