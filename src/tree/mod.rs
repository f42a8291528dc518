//! The engine: machines and their trees, what a step did, builders, grafts, and the store of layers.
//!
//! A step is first replayed against the journal of the node that it made before ([`Session`]); only when that
//! diverges is a [`Builder`] booted, the step carried out, and its layer grafted into the tree.

mod aside;
mod base;
mod branch;
mod builder;
mod chain;
mod chance;
mod checkpoint;
mod collect;
mod dependents;
mod difference;
mod discard;
mod doctor;
mod draft;
mod drawer;
mod drawing;
mod engine;
mod erase;
mod event;
#[cfg(test)]
mod example;
mod failed;
mod file_id;
mod fork;
mod gc;
mod info;
mod inputs;
mod journal;
mod key;
mod live;
mod made;
mod node;
mod operation;
mod perform;
mod plan;
mod power;
mod preflight;
mod reason;
mod restores;
mod resume;
mod revert;
mod root;
mod seat;
mod select;
mod session;
mod shelf;
mod state;
mod store;
mod sweep;
mod take;
mod undo;
mod view;
mod wanted;
mod work;

pub use branch::{Build, Candidate, Recalled};
pub use builder::Builder;
pub use collect::{Collected, WhyLeft};
pub use doctor::{Checkup, Finding};
pub use engine::{Engine, Machine, NodeId, nearest};
pub use erase::Scope;
pub use event::{Event, Events, Subject};
pub use failed::{FailedLog, FailedOperation, FailedView};
pub use fork::ForkOptions;
pub use info::{
    DiskInfo, FileInfo, ForkInfo, Log, LoggedOperation, MachineInfo, MachineView, Only, SnapshotDiskInfo, SnapshotInfo,
};
pub use journal::{Journal, NamedInputs};
pub use key::Definition;
pub use live::Forced;
pub use node::Node;
pub use operation::{Content, Operation, Outcome, Payload, Request};
pub use plan::{MachinePlan, NotPlanned, Plan, PlannedNode, Standing, Status};
pub use reason::{ASKED_FOR, Reason};
pub use restores::Restores;
pub use resume::{Foothold, Resume};
pub use root::Found;
pub use seat::Seat;
pub use select::Filter;
pub use session::{Halt, Session};
pub use store::Store;
pub use take::{DiskChoice, Take};
pub use undo::UndoView;
pub use view::{SnapshotView, TreeView};
pub use wanted::Wanted;
pub use work::Work;

/// Returns the time in seconds since the epoch.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
