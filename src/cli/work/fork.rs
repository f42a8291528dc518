//! `snaptree fork`.

use clap::Args;
use serde::Serialize;

use crate::cli::common::session::Session;
use crate::cli::work::port_pair;
use crate::error::Result;
use crate::hypervisor::{Connections, Forward, Ports};
use crate::name::SnapshotPath;
use crate::tree;
use crate::tree::{Builder, ForkOptions, Forwarded, ForwardedBack};
use crate::ui::Ui;

/// Start forks of a snapshot that run until `snaptree stop` ends them, and print their names and addresses
#[derive(Args)]
pub struct Fork {
    /// Start this many forks
    #[arg(short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    n: u16,
    /// Forward a local port to this guest port: a free one, or HOST if that is given; repeatable
    #[arg(short, long, value_name = "[HOST:]PORT", value_parser = port_pair::forward)]
    forward: Vec<Forward>,
    /// Forward the guest's port to HOST of this host: the same one, or PORT if that is given; repeatable
    #[arg(long, value_name = "HOST[:PORT]", value_parser = port_pair::back)]
    forward_back: Vec<Forward>,
    /// Fail if a guest would have to boot
    #[arg(long)]
    require_live: bool,
    /// Give each guest its own machine id, host name and SSH host keys
    #[arg(long)]
    new_identity: bool,
    /// Keep connections that the guests had open to something outside of them, instead of resetting them
    #[arg(long)]
    keep_connections: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// MACHINE/SNAPSHOT
    snapshot: SnapshotPath,
}

/// A running fork. `snaptree fork --json` prints a list of these.
#[derive(Serialize)]
struct ForkView {
    /// Its domain's name.
    name: String,
    forwards: Vec<Forwarded>,
    forwards_back: Vec<ForwardedBack>,
    /// The memory that it adds to the host's use, in bytes, if known.
    memory: Option<u64>,
}

impl Fork {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let Self { require_live, new_identity, .. } = *self;
        let connections = if self.keep_connections { Connections::Kept } else { Connections::Reset };
        let options = ForkOptions { is_kept: true, require_live, connections, new_identity };
        let mut forks: Vec<(Builder, ForkView)> = Vec::new();
        for _ in 0..self.n {
            let fork = tree::fork(engine, &self.snapshot, options)?;
            tree::session_in(engine, &fork, &self.snapshot, options)?;
            let ports = Ports { forwards: self.forward.clone(), back: self.forward_back.clone() };
            let Ports { forwards, back } = tree::forward_for_good(engine, &fork, &ports)?;
            let forwards = forwards.iter().map(|port| Forwarded::new(port.guest, port.host)).collect();
            let forwards_back = back.iter().map(|port| ForwardedBack::new(port.host, port.guest)).collect();
            let name = fork.domain().to_string();
            forks.push((fork, ForkView { name, forwards, forwards_back, memory: None }));
        }
        for (fork, view) in &mut forks {
            view.memory = tree::own_memory(engine, fork)?;
        }
        let (forks, views): (Vec<Builder>, Vec<ForkView>) = forks.into_iter().unzip();
        if let Some(memory) = views.iter().map(|view| view.memory).sum::<Option<u64>>() {
            let each = bytesize::ByteSize(memory / views.len() as u64).display().iec();
            engine.events.note(format!("each fork adds {each} to the memory in use"));
        }
        let line = |fork: &ForkView| {
            let addresses = fork.forwards.iter().map(|forward| forward.address.as_str());
            std::iter::once(fork.name.as_str()).chain(addresses).collect::<Vec<_>>().join(" ")
        };
        let lines: Vec<String> = views.iter().map(line).collect();
        if self.json { ui.json(&views) } else { ui.names(lines.iter().map(String::as_str)) }?;
        // If one of them could not be started, or printing failed, none is left running.
        forks.into_iter().for_each(Builder::leave);
        Ok(0)
    }
}
