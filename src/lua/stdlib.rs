//! The Lua that ships with snaptree, compiled into the binary: modules, and the stubs that describe the whole API.

use include_dir::{Dir, include_dir};

/// The modules, with the stubs in a directory of their own.
pub static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib");

/// Where the stubs are among the embedded modules.
pub const META: &str = "meta";

/// The chunk-name prefix of the code that ships with snaptree.
pub const STDLIB: &str = "[stdlib]";
