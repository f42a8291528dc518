//! The manual as `help` prints it.

use crate::lua::manual::Manual;
use crate::lua::manual::entry::{Entry, Kind, OptionDoc};

const WIDTH: usize = 100;
/// If a cell is longer than this, the rest of its row goes below it.
const WIDEST: usize = 25;
/// The suffix of the names of option types.
const OPTIONS: &str = "Options";
/// The type whose methods act on the working fork when called at the prompt.
const GUEST: &str = "guest";

impl Manual {
    /// Returns what `help(name)` prints: the signature, what it does, its options and an example; for a type, a table
    /// or a module also its members. Returns `None` for an unknown name.
    pub fn text(&self, name: &str) -> Option<String> {
        let mut parts: Vec<String> = self.entries(name).into_iter().map(|entry| self.told(entry)).collect();
        if let Some(fields) = self.tables.get(name) {
            parts.push(format!("{name}\n\n{}", table(&rows(fields, name.ends_with(OPTIONS)))));
        }
        if parts.is_empty() { None } else { Some(parts.join("\n")) }
    }

    /// Returns what `help()` prints: one line for each entry without an owner, and how to get more help.
    pub fn overview(&self) -> String {
        let (at_prompt, everywhere): (Vec<_>, Vec<_>) =
            self.globals().into_iter().partition(|entry| entry.is_at_prompt);
        let is_method = |entry: &&Entry| self.entry(&format!("{GUEST}:{}", entry.name)).is_some();
        let (methods, at_prompt): (Vec<_>, Vec<_>) = at_prompt.into_iter().partition(is_method);
        let groups = [
            ("In a script and at the prompt", everywhere),
            ("Only at the prompt", at_prompt),
            ("Modules, such as `local apt = require \"apt\"`", self.modules()),
            ("Types of values", self.classes()),
        ];
        let mut text = String::new();
        for (title, entries) in groups {
            let rows: Vec<_> =
                entries.into_iter().map(|entry| vec![entry.name.clone(), entry.summary().into()]).collect();
            text += &format!("{title}:\n{}\n", table(&rows));
        }
        let methods: Vec<&str> = methods.into_iter().map(|method| method.name.as_str()).collect();
        let methods = format!("At the prompt, the methods of the guest need no receiver: {}.", methods.join(", "));
        text += &format!("{}\n\n", wrapped(&methods, 0));
        text + "help \"machine\" explains a type, help \"snapshot:branch\" one of its functions.\n"
    }

    fn told(&self, entry: &Entry) -> String {
        let mut signature = entry.signature();
        if entry.kind == Kind::Class {
            signature = format!("type {signature}");
        }
        if let Some(parent) = self.parents.get(&entry.name) {
            signature += &format!(": {parent}");
        }
        let mut text = format!("{signature}\n\n");
        if !entry.doc.is_empty() {
            let paragraphs: Vec<String> = entry.doc.split("\n\n").map(|paragraph| wrapped(paragraph, 0)).collect();
            text += &format!("{}\n", paragraphs.join("\n\n"));
        }
        let arguments: Vec<Vec<String>> = entry
            .parameters
            .iter()
            .filter(|parameter| !parameter.doc.is_empty())
            .map(|parameter| vec![parameter.name.clone(), parameter.type_.clone(), parameter.doc.clone()])
            .collect();
        add(&mut text, "Arguments", &table(&arguments));
        add(&mut text, "Options", &table(&rows(&entry.options, true)));
        for (name, fields) in &self.tables {
            if entry.returns.split(|letter: char| !letter.is_alphanumeric() && letter != '.').any(|word| word == name) {
                add(&mut text, name, &table(&rows(fields, false)));
            }
        }
        if matches!(entry.kind, Kind::Class | Kind::Value | Kind::Module | Kind::Function) {
            self.add_members(&mut text, entry);
        }
        if let Some(example) = &entry.example {
            let lines: String = example.lines().map(|line| format!("  {line}\n")).collect();
            add(&mut text, "Example", &lines);
        }
        text
    }

    fn add_members(&self, text: &mut String, of: &Entry) {
        let is_class = of.kind == Kind::Class;
        // A table and a type may share a name.
        let belongs = |member: &&Entry| is_class == (member.kind != Kind::Function) || of.kind == Kind::Module;
        let members = self.members(&of.name).into_iter().filter(belongs);
        let (fields, calls): (Vec<&Entry>, Vec<&Entry>) = members.partition(|member| member.kind == Kind::Field);
        let rows: Vec<_> = fields
            .into_iter()
            .map(|field| vec![field.member().to_string(), field.returns.clone(), field.doc.clone()])
            .collect();
        add(text, "Fields", &table(&rows));
        let rows: Vec<_> = calls.into_iter().map(|call| vec![call.name.clone(), call.summary().into()]).collect();
        add(text, if is_class { "Methods" } else { "Functions" }, &table(&rows));
    }
}

fn add(text: &mut String, title: &str, part: &str) {
    if !part.is_empty() {
        *text += &format!("\n{title}:\n{part}");
    }
}

/// Makes a row of each field of a table; rows of options include the default.
fn rows(options: &[OptionDoc], are_options: bool) -> Vec<Vec<String>> {
    let says = |option: &OptionDoc| option.default.is_some() || option.is_required;
    let has_default = are_options && options.iter().any(says);
    options
        .iter()
        .map(|option| {
            let mut row = vec![option.name.clone(), option.type_.clone()];
            if has_default {
                let default = option.default.clone();
                row.push(default.unwrap_or_else(|| if option.is_required { "required".into() } else { "-".into() }));
            }
            row.push(option.doc.clone());
            row
        })
        .collect()
}

/// Draws rows with aligned columns; the last column is wrapped.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(|row| row.len() - 1).max().unwrap_or_default();
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.filter(|length| *length <= WIDEST).max().unwrap_or(1) + 2
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let (mut line, mut start) = ("  ".to_string(), 2);
        for (cell, width) in row.iter().zip(&widths) {
            line += cell;
            start += width;
            let used = line.chars().count();
            if used + 1 < start {
                line += &" ".repeat(start - used);
            } else {
                text += &format!("{line}\n");
                line = " ".repeat(start);
            }
        }
        let last = wrapped(row.last().map_or("", String::as_str), start);
        text += &format!("{}\n", format!("{line}{last}").trim_end());
    }
    text
}

/// Breaks a text into lines; all but the first begin with `indent` spaces.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut wrapped, mut used) = (String::new(), indent);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > indent && used + 1 + length > WIDTH {
            wrapped += &format!("\n{}", " ".repeat(indent));
            used = indent;
        } else if used > indent {
            wrapped.push(' ');
            used += 1;
        }
        wrapped += word;
        used += length;
    }
    wrapped
}
