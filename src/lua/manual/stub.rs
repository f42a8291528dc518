//! Parses one stub file: the LuaLS annotations that it uses, and the declarations below them.

use std::collections::{BTreeMap, HashMap};

use crate::lua::manual::entry::{Entry, Kind, OptionDoc, Parameter};
use crate::lua::manual::words::{optional, split_list, take_type, take_word};

/// The line that marks the file of what exists only at the prompt.
const AT_PROMPT: &str = "exists only at the prompt";

/// What a stub file declares.
#[derive(Default)]
pub struct Stub {
    pub entries: Vec<Entry>,
    pub parents: BTreeMap<String, String>,
    pub tables: BTreeMap<String, Vec<OptionDoc>>,
    /// The module that the file describes.
    module: Option<String>,
    is_at_prompt: bool,
    /// What each variable of the file stands for.
    variables: HashMap<String, String>,
}

/// The annotations above one declaration.
#[derive(Default)]
struct Block<'a> {
    doc: Vec<&'a str>,
    class: Option<&'a str>,
    fields: Vec<OptionDoc>,
    parameters: Vec<Parameter>,
    returns: &'a str,
    type_: &'a str,
}

impl Stub {
    pub fn read(source: &str) -> Self {
        let mut stub = Self::default();
        let mut block = Block::default();
        for line in source.lines() {
            if let Some(tag) = line.strip_prefix("---@") {
                stub.read_tag(tag, &mut block);
            } else if let Some(doc) = line.strip_prefix("---") {
                block.doc.push(doc);
            } else if line.starts_with("--") {
                stub.is_at_prompt |= line.contains(AT_PROMPT);
            } else {
                stub.declare(line, std::mem::take(&mut block));
            }
        }
        stub
    }

    fn read_tag<'a>(&mut self, tag: &'a str, block: &mut Block<'a>) {
        let (word, rest) = take_word(tag);
        match word {
            "meta" if rest != "_" => self.module = Some(rest.to_string()),
            "class" => {
                let (class, parent) = rest.split_once(':').unwrap_or((rest, ""));
                block.class = Some(class.trim());
                if !parent.is_empty() {
                    self.parents.insert(class.trim().to_string(), parent.trim().to_string());
                }
            }
            "field" => block.fields.push(field(rest)),
            "param" => block.parameters.push(parameter(rest)),
            "return" => block.returns = take_type(rest).0,
            "type" => block.type_ = take_type(rest).0,
            "overload" => {
                let call = rest.strip_prefix("fun(").unwrap_or(rest);
                let (parameters, returns) = call.rsplit_once("): ").unwrap_or((call.trim_end_matches(')'), ""));
                block.returns = returns;
                block.parameters = split_list(parameters).into_iter().map(overloaded).collect();
            }
            _ => {}
        }
    }

    /// Takes a line of code with the annotations above it; an empty line ends those of a table type.
    fn declare(&mut self, line: &str, block: Block) {
        if let Some(function) = line.strip_prefix("function ") {
            self.declare_function(function, block);
        } else if let Some(variable) = line.strip_prefix("local ").and_then(|line| line.strip_suffix(" = {}")) {
            let Some(class) = block.class.map(str::to_string) else { return };
            self.variables.insert(variable.to_string(), class.clone());
            let kind = if self.module.as_ref() == Some(&class) { Kind::Module } else { Kind::Class };
            self.declare_fields(&class, &block.fields);
            self.entries.push(self.entry(class, kind, None, block));
        } else if let Some(variable) = line.strip_suffix(" = {}").or(line.strip_suffix(" = nil")) {
            self.variables.insert(variable.to_string(), variable.to_string());
            let kind = if block.returns.is_empty() { Kind::Value } else { Kind::Function };
            self.declare_fields(variable, &block.fields);
            self.entries.push(self.entry(variable.to_string(), kind, None, block));
        } else if let Some(class) = block.class {
            self.tables.insert(class.to_string(), block.fields);
        }
    }

    fn declare_function(&mut self, line: &str, block: Block) {
        let name = line.split('(').next().unwrap_or_default();
        let Some(at) = name.find([':', '.']) else {
            let entry = self.entry(name.to_string(), Kind::Function, None, block);
            return self.entries.push(entry);
        };
        let kind = if name[at..].starts_with(':') { Kind::Method } else { Kind::Function };
        let owner = self.variables.get(&name[..at]).cloned().unwrap_or_else(|| name[..at].to_string());
        let entry = self.entry(format!("{owner}{}", &name[at..]), kind, Some(owner), block);
        self.entries.push(entry);
    }

    fn declare_fields(&mut self, owner: &str, fields: &[OptionDoc]) {
        for field in fields {
            let name = format!("{owner}.{}", field.name);
            let type_ = if field.is_required { field.type_.clone() } else { format!("{}?", field.type_) };
            let block = Block { doc: vec![&field.doc], type_: &type_, ..Block::default() };
            let entry = self.entry(name, Kind::Field, Some(owner.to_string()), block);
            self.entries.push(entry);
        }
    }

    fn entry(&self, name: String, kind: Kind, owner: Option<String>, block: Block) -> Entry {
        let (doc, example) = explained(&block.doc);
        let returns = if block.returns.is_empty() { block.type_ } else { block.returns };
        Entry {
            name,
            kind,
            owner,
            is_at_prompt: self.is_at_prompt,
            parameters: block.parameters,
            returns: returns.to_string(),
            doc,
            options: Vec::new(),
            example,
        }
    }
}

/// Reads `name? type default "1GiB". What it is.`
fn field(text: &str) -> OptionDoc {
    let (name, rest) = take_word(text);
    let (type_, doc) = take_type(rest);
    let (name, is_optional) = optional(name);
    let default = doc.strip_prefix("default ").map(|doc| doc.split_once(". ").unwrap_or((doc, "")));
    let (default, doc) = default.map_or((None, doc), |(default, doc)| (Some(default.to_string()), doc));
    OptionDoc { name, type_: type_.to_string(), is_required: !is_optional, doc: doc.to_string(), default }
}

/// Reads `name? type What it is.`
fn parameter(text: &str) -> Parameter {
    let (name, rest) = take_word(text);
    let (type_, doc) = take_type(rest);
    let (name, is_optional) = optional(name);
    Parameter { name, type_: type_.to_string(), is_optional, doc: doc.to_string() }
}

/// Reads `name?: type` of a callable table.
fn overloaded(text: &str) -> Parameter {
    let (name, type_) = text.split_once(':').unwrap_or((text, ""));
    let (name, is_optional) = optional(name);
    Parameter { name, type_: type_.trim().to_string(), is_optional, doc: String::new() }
}

/// Splits a comment into its text and its example.
fn explained(lines: &[&str]) -> (String, Option<String>) {
    let (mut prose, mut example, mut is_code) = (Vec::new(), Vec::new(), false);
    for line in lines {
        match *line {
            "```lua" => is_code = true,
            "```" => is_code = false,
            line if is_code => example.push(line),
            line => prose.push(line),
        }
    }
    let prose = prose.join("\n");
    let paragraphs: Vec<String> = prose.trim().split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    (paragraphs.join("\n\n"), (!example.is_empty()).then(|| example.join("\n")))
}
