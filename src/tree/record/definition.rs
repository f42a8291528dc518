//! The definition of a machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Firmware, Network};

/// The definition of a machine, apart from its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The image's digest.
    pub image: String,
    /// In bytes.
    pub memory: u64,
    pub cpus: u32,
    /// The disk's size in bytes; by default that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    pub cpu_model: Option<String>,
    pub firmware: Firmware,
    pub network: Network,
    pub extra_xml: String,
}

/// A definition as a root records it, with fields that do not affect the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described {
    #[serde(flatten)]
    pub definition: Definition,
    /// The expression for the image in a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_expression: Option<String>,
}

impl Definition {
    /// Describes which fields changed between two definitions, and how.
    pub fn difference(&self, now: &Self) -> Option<String> {
        let fields = |definition: &Self| match serde_json::to_value(definition) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (old, new) = (fields(self), fields(now));
        // A field that is not set is missing.
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
}
