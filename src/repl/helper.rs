//! What the line editor knows of Lua: whether a line is complete, what could follow, and its colours.

use std::borrow::Cow;

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::lua::{Asker, TokenKind, is_whole, tokens};

pub struct LuaHelper {
    asker: Asker,
    has_colours: bool,
    history: HistoryHinter,
}

impl LuaHelper {
    pub fn new(asker: Asker, has_colours: bool) -> Self {
        Self { asker, has_colours, history: HistoryHinter::new() }
    }
}

impl Helper for LuaHelper {}

impl Validator for LuaHelper {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for LuaHelper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let completion = self.asker.complete(line, at);
        Ok((completion.start, completion.candidates))
    }
}

impl Hinter for LuaHelper {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, context: &Context) -> Option<String> {
        // A line typed earlier is the better guess, if one matches.
        self.history.hint(line, at, context).or_else(|| self.asker.hint(line, at))
    }
}

impl Highlighter for LuaHelper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.has_colours {
            return Cow::Borrowed(line);
        }
        let (mut coloured, mut end) = (String::with_capacity(line.len() * 2), 0);
        for token in tokens(line) {
            coloured += &line[end..token.at.start];
            end = token.at.end;
            let word = &line[token.at];
            match colour(token.kind) {
                // A colour ends with its line, so that each line can be drawn by itself.
                Some(colour) => {
                    let lines: Vec<String> =
                        word.split('\n').map(|line| format!("\x1b[{colour}m{line}\x1b[0m")).collect();
                    coloured += &lines.join("\n");
                }
                None => coloured += word,
            }
        }
        Cow::Owned(coloured + &line[end..])
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.has_colours { Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")) } else { Cow::Borrowed(prompt) }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.has_colours { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.has_colours
    }
}

fn colour(kind: TokenKind) -> Option<&'static str> {
    match kind {
        TokenKind::Keyword => Some("35"),
        TokenKind::Text => Some("32"),
        TokenKind::Number => Some("36"),
        TokenKind::Comment => Some("2"),
        TokenKind::Name | TokenKind::Sign => None,
    }
}
