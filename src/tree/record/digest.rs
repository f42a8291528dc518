//! The digest of what a key or a state is made of.

use serde::Serialize;

pub fn digest(key: &impl Serialize) -> String {
    // These structs have string keys and plain values only, which JSON always carries.
    let json = serde_json::to_vec(key).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}
