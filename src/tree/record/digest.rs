//! The digest of the inputs of a key or a state.

use serde::Serialize;

pub fn digest(key: &impl Serialize) -> String {
    // These structs have only string keys and plain values, which JSON can always carry.
    let json = serde_json::to_vec(key).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}
