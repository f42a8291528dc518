//! What commands that take a script share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::lua::{self, Orders, Settings};

/// A script, and the orders for it.
#[derive(Args)]
pub struct Script {
    /// Only this node and what it needs; other branches are skipped
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub only: Vec<String>,
    /// Build this node, and all that depends on it, even if nothing changed
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub rebuild: Vec<String>,
    /// Set a parameter, which the script reads with `param`
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<Assignment>,
    /// The Lua script
    pub script: PathBuf,
    /// Arguments for the script, which it finds in `arg`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `NAME=VALUE`
#[derive(Clone, Debug)]
pub struct Assignment {
    name: String,
    value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self { name: name.to_string(), value: value.to_string() }),
            _ => Err("it is NAME=VALUE, such as version=10.11".to_string()),
        }
    }
}

impl Script {
    pub fn orders(&self, frozen: bool) -> Orders {
        let set = self.set.iter().map(|Assignment { name, value }| (name.clone(), value.clone()));
        Orders { only: self.only.clone(), rebuild: self.rebuild.clone(), frozen, set: BTreeMap::from_iter(set) }
    }

    pub fn settings<'a>(&self, session: &'a Session, jobs: u16, orders: &'a Orders) -> Settings<'a> {
        Settings {
            engine: Arc::clone(&session.engine),
            connect: session.connector(),
            cache: &session.paths.cache,
            jobs: usize::from(jobs),
            keep_failed: true,
            door: None,
            stdlib: &session.paths.stdlib,
            orders,
        }
    }

    pub fn read(&self) -> Result<lua::Program<'_>> {
        lua::Script { file: &self.script, arguments: &self.arguments }.read()
    }
}
