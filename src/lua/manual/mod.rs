//! The registry of the Lua API: `help` and completion read the same type stubs, in `stdlib/meta`, as editors do.

mod entry;
mod stub;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use include_dir::Dir;

pub use entry::{Entry, Kind, OptionDoc};

use crate::lua::manual::stub::Stub;
use crate::lua::stdlib::{EMBEDDED, META};
use crate::tree::nearest;

/// Everything that a script or the prompt can call.
#[derive(Default)]
pub struct Manual {
    entries: Vec<Entry>,
    /// The class that each derived class inherits from.
    parents: BTreeMap<String, String>,
    /// The fields of tables, by type name: options and results.
    tables: BTreeMap<String, Vec<OptionDoc>>,
}

impl Manual {
    /// Returns the manual of the stubs in the binary.
    pub fn embedded() -> &'static Self {
        static MANUAL: LazyLock<Manual> = LazyLock::new(|| Manual::of(stubs()));
        &MANUAL
    }

    fn of<'a>(stubs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut manual = Self::default();
        for (_, source) in stubs {
            let stub = Stub::read(source);
            manual.entries.extend(stub.entries);
            manual.parents.extend(stub.parents);
            manual.tables.extend(stub.tables);
        }
        for entry in &mut manual.entries {
            let options = entry.parameters.iter().find(|parameter| parameter.name == "options");
            let options = options.and_then(|options| manual.tables.get(&options.type_));
            entry.options = options.cloned().unwrap_or_default();
        }
        let words: Vec<Entry> = manual.entries.iter().filter_map(word_of_the_prompt).collect();
        manual.entries.extend(words);
        manual
    }

    /// Finds the entry of a name such as `snapshot:branch`, `snapshot.name`, `machine` or `apt.install`. If a script's
    /// function, a type and a function of the prompt share a name, the first in this order wins.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let rank = |entry: &&Entry| (entry.is_at_prompt, entry.kind == Kind::Class);
        self.entries(name).into_iter().min_by_key(rank)
    }

    /// Finds all entries of a name: `machine` is both a function and a type.
    pub fn entries(&self, name: &str) -> Vec<&Entry> {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.name == name).collect();
        if !found.is_empty() {
            return found;
        }
        let Some((owner, member)) = name.rsplit_once([':', '.']) else { return Vec::new() };
        // A fork has the methods of a guest, and the user need not know which names are methods.
        self.members(owner).into_iter().filter(|entry| entry.member() == member).collect()
    }

    /// Lists the members of a type, a global table or a module. If a type and a table share a name, it lists both:
    /// functions belong to the table, methods and fields to the type.
    pub fn members(&self, of: &str) -> Vec<&Entry> {
        let mut members = Vec::new();
        let mut owner = Some(of);
        while let Some(name) = owner {
            members.extend(self.entries.iter().filter(|entry| entry.owner.as_deref() == Some(name)));
            owner = self.parents.get(name).map(String::as_str);
        }
        members
    }

    /// Lists the global functions and tables: a script's by name, then those that exist only at the prompt.
    pub fn globals(&self) -> Vec<&Entry> {
        let is_global = |entry: &&Entry| entry.owner.is_none() && matches!(entry.kind, Kind::Function | Kind::Value);
        let mut globals: Vec<&Entry> = self.entries.iter().filter(is_global).collect();
        globals.sort_by_key(|entry| (entry.is_at_prompt, if entry.is_at_prompt { "" } else { &entry.name }));
        globals
    }

    /// Lists the modules in the binary.
    pub fn modules(&self) -> Vec<&Entry> {
        self.of_kind(Kind::Module)
    }

    /// Lists the types of values.
    pub fn classes(&self) -> Vec<&Entry> {
        self.of_kind(Kind::Class)
    }

    fn of_kind(&self, kind: Kind) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().filter(|entry| entry.kind == kind).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Lists the options of a function.
    pub fn options(&self, function: &str) -> Vec<&OptionDoc> {
        let with_options = self.entries(function).into_iter().find(|entry| !entry.options.is_empty());
        with_options.map(|entry| entry.options.iter().collect()).unwrap_or_default()
    }

    /// Lists all names that have an entry.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Finds the name that is most similar to another.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}

/// Describes the function that a method of guests is at the prompt, where it acts on the working fork.
fn word_of_the_prompt(method: &Entry) -> Option<Entry> {
    (method.kind == Kind::Method && method.owner.as_deref() == Some("guest")).then(|| Entry {
        name: method.member().to_string(),
        kind: Kind::Function,
        owner: None,
        is_at_prompt: true,
        doc: format!("{}\n\nThe guest is that of the working fork.", method.doc),
        example: method.example.as_ref().map(|example| example.replace("guest:", "")),
        ..method.clone()
    })
}

/// Lists the stub files: each one's path below the stub directory, and its text.
pub fn stubs() -> Vec<(&'static str, &'static str)> {
    fn add(directory: &Dir<'static>, stubs: &mut Vec<(&'static str, &'static str)>) {
        for file in directory.files() {
            let path = file.path().strip_prefix(META).ok().and_then(|path| path.to_str());
            stubs.extend(path.zip(file.contents_utf8()));
        }
        directory.dirs().for_each(|directory| add(directory, stubs));
    }
    let mut stubs = Vec::new();
    if let Some(meta) = EMBEDDED.get_dir(META) {
        add(meta, &mut stubs);
    }
    stubs.sort();
    stubs
}
