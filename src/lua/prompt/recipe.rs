//! `.save`: writes a script that rebuilds the tree that was made at the prompt, from its journals.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Firmware, Network};
use crate::lua::api::guest::call_of;
use crate::lua::prompt::prompt::Prompt;
use crate::lua::runtime::contents::Contents;
use crate::lua::value::show::{is_name, key, options, quoted};
use crate::name::SnapshotPath;
use crate::tree::{Definition, Journal, Machine, Node};

/// The first line of each written file, which identifies it later.
const HEADER: &str = "-- Written by `.save` at snaptree's prompt.";
const INDENT: &str = "  ";

/// Writes the recipe of what was made at the prompt and of all its ancestors; says what it wrote.
pub async fn save(prompt: &Prompt, file: &Path) -> Result<String> {
    let context = prompt.context();
    let made = context.snapshots();
    let mut written = Vec::new();
    let mut machines: Vec<_> = made.iter().map(|path| path.machine.clone()).collect();
    machines.dedup();
    let mut names = Names::default();
    for machine in machines.iter().collect::<BTreeSet<_>>() {
        let name = machine.clone();
        let seen = context.blocking(move |engine| engine.existing_now(&name)).await;
        // A deleted snapshot is skipped.
        let Ok(seen) = seen else { continue };
        let recipe = Recipe { machine: &seen, contents: &context.contents, names: &mut names };
        written.extend(recipe.write(&made)?);
    }
    if written.is_empty() {
        return Err(Error::failed("nothing was made at this prompt")
            .hint("snapshot(\"NAME\") keeps the working fork as it is as a branch"));
    }
    let has_other = std::fs::read_to_string(file).is_ok_and(|text| !text.starts_with(HEADER)) || file.is_dir();
    if has_other {
        return Err(Error::failed(format!("`{}` exists already, and .save did not write it", file.display()))
            .hint("choose another name; nothing was written"));
    }
    let cannot = || format!("cannot write `{}`", file.display());
    std::fs::write(file, format!("{HEADER}\n{}", written.concat())).because(cannot)?;
    Ok(format!("wrote {}", file.display()))
}

/// Unique variable names.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn of(&mut self, name: &str) -> String {
        let letters = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut word: String = name.chars().map(letters).collect();
        if !is_name(&word) {
            word.insert(0, '_');
        }
        while !self.0.insert(word.clone()) {
            word.push('_');
        }
        word
    }
}

struct Recipe<'a> {
    machine: &'a Machine,
    contents: &'a Contents,
    names: &'a mut Names,
}

impl Recipe<'_> {
    /// Writes a machine with the nodes that were made at the prompt and their ancestors; parents first.
    fn write(mut self, made: &[SnapshotPath]) -> Result<Option<String>> {
        let mut wanted = BTreeSet::new();
        for path in made.iter().filter(|path| path.machine == self.machine.name) {
            let mut next = self.machine.node(path.snapshot.as_str());
            while let Some(node) = next.filter(|node| wanted.insert(node.name().to_string())) {
                next = node.snapshot.parent.as_deref().and_then(|parent| self.machine.node(parent));
            }
        }
        let roots = self.machine.nodes.iter().filter(|node| node.snapshot.parent.is_none());
        let roots: Vec<&Node> = roots.filter(|node| wanted.contains(node.name())).collect();
        let Some(first) = roots.first() else { return Ok(None) };
        let vm = self.names.of("vm");
        let mut text = format!("\nlocal {vm} = {}\n", self.definition(first)?);
        for root in roots {
            let name = self.names.of(root.name());
            let made = match &root.record {
                Some(record) if record.is_ours && record.built_on.is_none() => {
                    format!("{vm}:root({}{})", quoted(root.name().as_bytes()), options(&[comment(root)]))
                }
                _ => format!("{vm}:find({})", quoted(root.name().as_bytes())),
            };
            text += &format!("\nlocal {name} = {made}\n");
            self.branches(root, &[&vm, &name], &wanted, &mut text)?;
        }
        Ok(Some(text))
    }

    fn definition(&self, root: &Node) -> Result<String> {
        let machine = quoted(self.machine.name.as_str().as_bytes());
        if !self.machine.is_ours {
            return Ok(format!("machine.open({machine})"));
        }
        let definition = root.definition()?;
        let image = root.image_expression().ok_or_else(|| {
            Error::failed(format!("it is not known how the image of `{}` was made", self.machine.name))
                .cause("its root is older than that record, or the image was made by a function of a script")
                .hint("images.debian, images.tiny, image.file and image.url are known")
        })?;
        Ok(format!("machine({machine}, {{\n{}}})", fields(&image, &definition)))
    }

    /// Writes the branches of a node; the variables are those of the machine and of the node.
    fn branches(
        &mut self,
        parent: &Node,
        [vm, variable]: &[&str; 2],
        wanted: &BTreeSet<String>,
        text: &mut String,
    ) -> Result<()> {
        let children = self.machine.children(parent.name()).filter(|node| wanted.contains(node.name()));
        for node in children.collect::<Vec<_>>() {
            let name = self.names.of(node.name());
            let made = match node.record {
                Some(_) => self.branch(node, variable)?,
                None => format!("{vm}:find({})", quoted(node.name().as_bytes())),
            };
            *text += &format!("\nlocal {name} = {made}\n");
            self.branches(node, &[vm, &name], wanted, text)?;
        }
        Ok(())
    }

    fn branch(&self, node: &Node, parent: &str) -> Result<String> {
        let journal = node.journal()?;
        let mut steps = String::new();
        for (n, entry) in journal.entries.iter().enumerate() {
            let took = Duration::from_millis(entry.took);
            let step = call_of(&entry.operation, &entry.outcome, took, self.contents);
            let step = step.map_err(|error| {
                Error::failed(format!("operation {} of `{}` cannot be written down", n + 1, node.name()))
                    .caused_by(error)
            })?;
            steps += &format!("{INDENT}guest:{step}\n");
        }
        let options = options(&[comment(node), inputs(&journal)]);
        let name = quoted(node.name().as_bytes());
        Ok(format!("{parent}:branch({name}, function(guest)\n{steps}end{options})"))
    }
}

fn comment(node: &Node) -> Option<String> {
    let comment = &node.snapshot.comment;
    (!comment.is_empty()).then(|| format!("comment = {}", quoted(comment.as_bytes())))
}

fn inputs(journal: &Journal) -> Option<String> {
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => quoted(text.as_bytes()),
        other => other.to_string(),
    };
    let inputs: Vec<String> =
        journal.inputs.iter().map(|(name, input)| format!("{} = {}", key(name), value(input))).collect();
    (!inputs.is_empty()).then(|| format!("inputs = {{ {} }}", inputs.join(", ")))
}

/// Writes a machine's options, one per line, without those that have their default.
fn fields(image: &str, definition: &Definition) -> String {
    let network = match &definition.network {
        Network::User => None,
        Network::None => Some("none".to_string()),
        Network::Network(name) => Some(format!("network:{name}")),
        Network::Bridge(name) => Some(format!("bridge:{name}")),
    };
    let text = |text: &String| quoted(text.as_bytes());
    let extra_xml = Some(&definition.extra_xml).filter(|xml| !xml.is_empty());
    let fields = [
        ("image", Some(image.to_string())),
        ("memory", Some(format!("\"{}\"", size(definition.memory)))),
        ("cpus", (definition.cpus != 1).then(|| definition.cpus.to_string())),
        ("disk", definition.disk.map(|bytes| format!("\"{}\"", size(bytes)))),
        ("cpu_model", definition.cpu_model.as_ref().map(text)),
        ("firmware", (definition.firmware == Firmware::Uefi).then(|| "\"uefi\"".to_string())),
        ("network", network.as_ref().map(text)),
        ("extra_xml", extra_xml.map(text)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some(format!("{INDENT}{name} = {},\n", value?))).collect()
}

/// Writes a size exactly, in the largest unit that divides it.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, bits)| bytes >= 1 << bits && bytes.trailing_zeros() >= *bits);
    whole.map_or_else(|| format!("{bytes}B"), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_exactly() {
        for (bytes, text) in [(1 << 30, "1GiB"), (1536 << 20, "1536MiB"), (1 << 10, "1KiB"), (1500, "1500B")] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_variable_is_a_word_of_luas_and_used_once() {
        let mut names = Names::default();
        let made: Vec<String> =
            ["vm", "a-b", "a b", "end", "1st", "データ"].iter().map(|name| names.of(name)).collect();
        assert_eq!(made, ["vm", "a_b", "a_b_", "_end", "_1st", "___"]);
    }
}
