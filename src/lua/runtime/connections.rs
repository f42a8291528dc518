//! The connections of one script: the one of the command line, and those that it opened.

use parking_lot::Mutex;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lua::runtime::context::Context;
use crate::tree::Engine;

/// How a script opens a connection.
pub const CONNECT: &str = "libvirt.connect(\"qemu:///system\")";

/// Opens another connection, by its URI.
pub type Connector = Arc<dyn Fn(&str) -> Result<Arc<Engine>> + Send + Sync>;

/// The connections of one script. An open one is reused, since two would not know of each other's claims.
pub struct Connections {
    first: Arc<Context>,
    others: Mutex<Vec<(String, Arc<Context>)>>,
    connect: Connector,
}

impl Connections {
    pub fn new(first: Arc<Context>, connect: Connector) -> Self {
        Self { first, others: Mutex::default(), connect }
    }

    /// Returns the connection that the script was started with.
    pub fn first(&self) -> &Arc<Context> {
        &self.first
    }

    pub fn all(&self) -> Vec<Arc<Context>> {
        let others = self.others.lock();
        let mut all = vec![Arc::clone(&self.first)];
        for (_, other) in others.iter() {
            if !all.iter().any(|known| Arc::ptr_eq(known, other)) {
                all.push(Arc::clone(other));
            }
        }
        all
    }

    /// Returns the connection to a URI; opens it if it is not open yet.
    pub fn open(&self, uri: &str) -> Result<Arc<Context>> {
        if uri.is_empty() {
            return Err(Error::failed("libvirt.connect: the URI is empty").hint(format!("such as {CONNECT}")));
        }
        if let Some(open) = self.find(uri) {
            return Ok(open);
        }
        let engine = (self.connect)(uri)?;
        // Several URIs may be the same connection: `embed` is short for a URI with a path in it.
        let opened = self.find(&engine.uri()).unwrap_or_else(|| Arc::new(self.first.beside(engine)));
        let mut others = self.others.lock();
        others.push((uri.to_string(), Arc::clone(&opened)));
        Ok(opened)
    }

    fn find(&self, uri: &str) -> Option<Arc<Context>> {
        if self.first.engine.uri() == uri {
            return Some(Arc::clone(&self.first));
        }
        let others = self.others.lock();
        let is_it = |(name, context): &&(String, Arc<Context>)| name == uri || context.engine.uri() == uri;
        others.iter().find(is_it).map(|(_, context)| Arc::clone(context))
    }
}
