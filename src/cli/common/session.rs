//! What every command begins with: signals, a connection, the engine.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag};

use crate::error::{Because, Error, Result};
use crate::hypervisor::Hypervisor;
use crate::lua::Connector;
use crate::paths::{Paths, for_libvirt};
use crate::stop::{Interrupt, Stop};
use crate::trace;
use crate::tree::{Engine, Events, Forced, Store};
use crate::ui::Ui;
use crate::{fake, libvirt, signals};

/// Sets how long after the start of a step its first checkpoint is saved.
const CHECKPOINT_AFTER: &str = "SNAPTREE_CHECKPOINT_AFTER";
/// How long to wait for the removal of earlier commands' forks.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);
const LIVE: &str = "SNAPTREE_LIVE";

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Connect to this hypervisor, as in virsh; snaptree adds `embed` and `fake:FILE`
    #[arg(short, long, value_name = "URI", global = true)]
    pub connect: Option<String>,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show the output of every command that runs in a guest
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// A connection, and the engine on it.
pub struct Session {
    pub engine: Arc<Engine>,
    pub paths: Paths,
    /// What interrupts the work at a signal.
    pub handlers: Vec<SigId>,
}

impl Session {
    pub fn open(global: &Global, ui: &Ui) -> Result<Self> {
        Self::open_for(global, ui, AtCtrlC::End)
    }

    /// Opens one once nothing is left of the forks that earlier commands threw away.
    pub fn open_for(global: &Global, ui: &Ui, at_ctrl_c: AtCtrlC) -> Result<Self> {
        let session = Self::open_soon(global, ui, at_ctrl_c)?;
        session.engine.store.wait_for_removals(&Stop::after(REMOVAL_LIMIT, &session.engine.interrupt));
        Ok(session)
    }

    /// Opens one at once, for what takes no notice of other forks.
    pub fn open_at_once(global: &Global, ui: &Ui) -> Result<Self> {
        Self::open_soon(global, ui, AtCtrlC::End)
    }

    fn open_soon(global: &Global, ui: &Ui, at_ctrl_c: AtCtrlC) -> Result<Self> {
        let interrupt = ui.interrupt();
        let handlers = interrupt_on_signals(&interrupt, at_ctrl_c)?;
        let paths = Paths::from_env()?;
        let engine = connect(global.connect.as_deref(), &paths, ui.events(), interrupt)?;
        Ok(Self { engine, paths, handlers })
    }

    /// Returns the function that opens further connections for a script.
    pub fn connector(&self) -> Connector {
        let (paths, events) = (self.paths.clone(), self.engine.events.clone());
        let interrupt = self.engine.interrupt.clone();
        Arc::new(move |uri| connect(Some(uri), &paths, events.clone(), interrupt.clone()))
    }
}

fn connect(uri: Option<&str>, paths: &Paths, events: Events, interrupt: Interrupt) -> Result<Arc<Engine>> {
    let _span = trace::span("connect");
    let (hypervisor, store): (Arc<dyn Hypervisor>, Store) = match uri {
        Some(uri) if uri.starts_with(fake::SCHEME) => (fake::connect(uri)?, store_of_fake(uri, paths)?),
        uri => {
            let connected = libvirt::connect(uri, paths)?;
            if let Some(note) = connected.note {
                events.note(note);
            }
            (connected.hypervisor, Store::new(paths.store.clone()))
        }
    };
    // Domains and snapshots contain the paths of files in the store.
    for_libvirt(store.root()).map_err(|error| error.hint("SNAPTREE_STORE names another directory for the store"))?;
    let mut engine = Engine::new(hypervisor, store, events, interrupt);
    engine.forced_live = Forced::read(&std::env::var(LIVE).unwrap_or_default())?;
    if let Some(after) = std::env::var_os(CHECKPOINT_AFTER) {
        let after = after.to_string_lossy();
        engine.checkpoint_after = humantime::parse_duration(&after)
            .map_err(|cause| Error::usage(format!("{CHECKPOINT_AFTER} must be a time, such as 10s")).cause(cause))?;
    }
    Ok(Arc::new(engine))
}

/// Returns a store for the fake hypervisor, separate from the user's own.
fn store_of_fake(uri: &str, paths: &Paths) -> Result<Store> {
    match uri.strip_prefix(fake::SCHEME) {
        _ if paths.is_store_named => Ok(Store::new(paths.store.clone())),
        None | Some("") => Store::temporary(),
        Some(file) => {
            let beside = std::path::absolute(format!("{file}.store"));
            beside.map(Store::new).because(|| format!("`{file}` names no file"))
        }
    }
}

/// What the first Ctrl-C does; a second one ends the process at once, except at a prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtCtrlC {
    End,
    StopTheLine,
}

/// Makes the first signal stop the work and clean up, and a second one end the process at once.
pub fn interrupt_on_signals(interrupt: &Interrupt, at_ctrl_c: AtCtrlC) -> Result<Vec<SigId>> {
    let mut handlers = Vec::new();
    let is_second = Arc::new(AtomicBool::new(false));
    let cannot = || "cannot handle signals".to_string();
    let exit_code = crate::error::Kind::Interrupted.exit_code();
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !signals::is_ignored(*signal)) {
        let ends = signal != SIGINT || at_ctrl_c == AtCtrlC::End;
        // The order matters: the flag must be checked before it is raised.
        if ends {
            let shutdown = flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&is_second));
            handlers.push(shutdown.because(cannot)?);
            handlers.push(flag::register(signal, Arc::clone(&is_second)).because(cannot)?);
            handlers.push(flag::register(signal, Arc::clone(&interrupt.end)).because(cannot)?);
        }
        handlers.push(flag::register(signal, Arc::clone(&interrupt.flag)).because(cannot)?);
    }
    Ok(handlers)
}
