//! The engine: machines and their trees, what a step did, builders, grafts, and the store of layers.
//!
//! A step is first replayed against the journal of the node that it made before ([`Session`]); only when that
//! diverges is a [`Builder`] booted, the step carried out, and its layer grafted into the tree.
//!
//! Its rooms stand one on the other; each uses only those above it here:
//!
//! - `files`: the store, which file is which, who made it
//! - `record`: what is recorded of a node, and why another one differs
//! - `kept`: what is kept outside of a tree
//! - `machine`: machines as last seen, and the [`Engine`] that looks
//! - `owners`: who depends on a file, and the removal of those that nobody depends on
//! - `graft`: what is done to a tree and its layers
//! - `clone`: transient clones and their check-points
//! - `step`: a step replayed or carried out
//! - `change`: the primitives on any domain
//! - `build`: how nodes come to be
//! - `view`: what somebody looks at

mod build;
mod change;
mod clone;
mod files;
mod graft;
mod kept;
mod machine;
mod owners;
mod record;
mod step;
mod view;

pub use crate::event::{Event, Events, Subject};
pub use crate::nearest::nearest;
pub use build::branch::Build;
pub use build::branch_spec::Wanted;
pub use build::fork::ForkOptions;
pub use build::found::Found;
pub use build::recall::{Candidate, Recalled};
pub use build::resume::{Resume, ResumePoint};
pub use build::working_fork::Work;
pub use change::console::GuestConsole;
pub use change::create::{DiskChoice, Take};
pub use change::delete::Scope;
pub use clone::builder::Builder;
pub use files::store::Store;
pub use kept::restores::Restores;
pub use machine::engine::Engine;
pub use machine::seen::Machine;
pub use machine::select::Filter;
pub use machine::settings::Forced;
pub use owners::collect::{Collected, WhyLeft};
pub use record::definition::Definition;
pub use record::journal::Journal;
pub use record::key::NamedInputs;
pub use record::node::Node;
pub use record::node_id::NodeId;
pub use record::operation::{Content, Operation, Outcome, Payload, Request};
pub use record::reason::{ASKED_FOR, Reason};
pub use step::recall::Halt;
pub use step::session::Session;
pub use view::doctor::{Checkup, Finding};
pub use view::info::{DiskInfo, FileInfo, ForkInfo, MachineInfo, MachineView, Only, SnapshotDiskInfo, SnapshotInfo};
pub use view::log::{FailedLog, FailedOperation, FailedView, Log, LoggedOperation};
pub use view::plan::{MachinePlan, NodeStatus, NotPlanned, Plan, PlannedNode, Status};
pub use view::tree::{SnapshotView, TreeView};
pub use view::undo_list::UndoView;
