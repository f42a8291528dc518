//! Node keys: a digest over everything that decides what a node is, each input named.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Firmware, Network};
use crate::tree::record::journal::NamedInputs;
use crate::tree::record::operation::Operation;

/// Raised when the same inputs no longer mean the same node.
pub const SCHEMA: u32 = 1;

/// What a machine is made of, apart from its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The image's digest.
    pub image: String,
    /// In bytes.
    pub memory: u64,
    pub cpus: u32,
    /// The disk's size in bytes; the image's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    pub cpu_model: Option<String>,
    pub firmware: Firmware,
    pub network: Network,
    pub extra_xml: String,
}

/// A definition as a root keeps it, with what decides nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described {
    #[serde(flatten)]
    pub definition: Definition,
    /// What a script says to have the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_expression: Option<String>,
}

impl Definition {
    /// Says which field changed between two definitions, and how.
    pub fn difference(&self, now: &Self) -> Option<String> {
        let fields = |definition: &Self| match serde_json::to_value(definition) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (old, new) = (fields(self), fields(now));
        // A field that is not set is not there.
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let value =
            |of: &serde_json::Map<String, serde_json::Value>, name: &str| of.get(name).cloned().unwrap_or_default();
        let changed = |name: &&String| value(&old, name) != value(&new, name);
        let changes: Vec<String> = names
            .into_iter()
            .filter(changed)
            .map(|name| match name.as_str() {
                IMAGE => format!("image changed: {}.. -> {}..", short(&self.image), short(&now.image)),
                _ => format!("`{name}` was {}, is now {}", value(&old, name), value(&new, name)),
            })
            .collect();
        (!changes.is_empty()).then(|| format!("the machine's {}", changes.join(", its ")))
    }
}

const IMAGE: &str = "image";

/// Returns the beginning of an image's digest, which is `algorithm:hex`.
fn short(digest: &str) -> &str {
    const HEX: usize = 8;
    let end = digest.find(':').map_or(0, |colon| colon + 1) + HEX;
    digest.get(..end).unwrap_or(digest)
}

/// The inputs of a root.
#[derive(Serialize)]
pub struct RootKey<'a> {
    pub schema: u32,
    pub machine: &'a Definition,
}

/// The inputs of a branch.
#[derive(Serialize)]
pub struct BranchKey<'a> {
    pub schema: u32,
    /// The parent's key.
    pub parent: &'a str,
    #[serde(skip_serializing_if = "NamedInputs::is_empty")]
    pub inputs: &'a NamedInputs,
    pub operations: Vec<&'a Operation>,
}

impl RootKey<'_> {
    pub fn digest(&self) -> String {
        digest(self)
    }
}

impl BranchKey<'_> {
    pub fn digest(&self) -> String {
        digest(self)
    }
}

pub fn digest(key: &impl Serialize) -> String {
    // These structs have string keys and plain values only, which JSON always carries.
    let json = serde_json::to_vec(key).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        Definition {
            image: "abc".into(),
            memory: 1 << 30,
            cpus: 2,
            disk: None,
            cpu_model: None,
            firmware: Firmware::Bios,
            network: Network::User,
            extra_xml: String::new(),
        }
    }

    #[test]
    fn the_changed_field_is_named() {
        let now = Definition { cpus: 4, ..definition() };
        assert_eq!(definition().difference(&now).unwrap(), "the machine's `cpus` was 2, is now 4");
        assert_eq!(definition().difference(&definition()), None);
        let disk = Definition { disk: Some(7), ..definition() };
        assert_eq!(disk.difference(&definition()).unwrap(), "the machine's `disk` was 7, is now null");
        let [was, now] = ["blake3:0123456789", "blake3:ab23456789"].map(|image| Definition {
            image: image.into(),
            memory: image.len() as u64,
            ..definition()
        });
        let two = Definition { cpus: 4, ..now };
        assert_eq!(
            was.difference(&two).unwrap(),
            "the machine's `cpus` was 2, is now 4, its image changed: blake3:01234567.. -> blake3:ab234567.."
        );
    }

    #[test]
    fn every_input_changes_the_key() {
        let root = RootKey { schema: SCHEMA, machine: &definition() }.digest();
        assert_ne!(root, RootKey { schema: SCHEMA + 1, machine: &definition() }.digest());
        assert_ne!(root, RootKey { schema: SCHEMA, machine: &Definition { cpus: 4, ..definition() } }.digest());
        let with = |inputs: &NamedInputs, parent: &str, operations| {
            BranchKey { schema: SCHEMA, parent, inputs, operations }.digest()
        };
        let branch = |parent: &str, operations| with(&NamedInputs::new(), parent, operations);
        assert_ne!(branch("a", vec![]), branch("b", vec![]));
        assert_ne!(branch("a", vec![]), branch("a", vec![&Operation::Sync]));
        assert_ne!(
            branch("a", vec![&Operation::Sync, &Operation::Time]),
            branch("a", vec![&Operation::Time, &Operation::Sync])
        );
        let [three, four] = [3, 4].map(|value| with(&[("x".to_string(), value.into())].into(), "a", vec![]));
        assert!(three != four && three != branch("a", vec![]));
    }

    #[test]
    fn a_branch_without_inputs_has_the_key_that_it_always_had() {
        let (parent, operations) = ("a", vec![&Operation::Sync]);
        let key = BranchKey { schema: 1, parent, inputs: &NamedInputs::new(), operations }.digest();
        let json = r#"{"schema":1,"parent":"a","operations":[{"kind":"sync"}]}"#;
        assert_eq!(key, blake3::hash(json.as_bytes()).to_hex().to_string());
    }
}
