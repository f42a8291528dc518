//! Node keys: a digest over every input that decides what a node is, each with its name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::tree::record::definition::Definition;
use crate::tree::record::digest::digest;
use crate::tree::record::operation::Operation;

/// Raised when the same inputs no longer mean the same node.
pub const SCHEMA: u32 = 1;

/// Inputs of a step that no operation shows, by name: strings, numbers and booleans.
pub type NamedInputs = BTreeMap<String, Value>;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::{Firmware, Network};

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
