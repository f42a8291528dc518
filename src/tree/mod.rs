//! The engine: machines and their trees, journals, builders, grafts, and the store of layers.
//!
//! A step is first replayed against the journal of the node that it built before ([`ReplaySession`]). Only if that diverges
//! does the engine boot a [`Builder`], carry out the step, and graft its layer into the tree.
//!
//! Its rooms form layers; each uses only the ones listed above it:
//!
//! - `archive`: directories as tar archives, packed on one side and unpacked on the other
//! - `files`: the store, the identity of files, and the record of who made them
//! - `record`: the metadata of a node, and how two nodes differ
//! - `kept`: everything that is kept outside of a tree
//! - `machine`: snapshots of a machine's state, and the [`Engine`] that reads it
//! - `owners`: what depends on a file, and the removal of files that nothing depends on
//! - `graft`: changes to a tree and its layers
//! - `clone`: transient clones and their checkpoints
//! - `serial`: serial consoles that scripts watch and type into
//! - `step`: replaying or carrying out a step
//! - `change`: the snapshot primitives, for any domain
//! - `build`: building nodes
//! - `view`: plain data to display

mod archive;
mod build;
mod change;
mod clone;
mod files;
mod graft;
mod guest;
mod kept;
mod machine;
mod owners;
mod record;
mod serial;
mod step;
mod view;

pub use crate::event::{EarlierTry, Event, Events, Subject};
pub use crate::nearest::{did_you_mean, nearest};
pub use archive::exclude::Exclude;
pub use archive::listing::{Listing, Reading, usual_mode};
pub use build::branch::{Build, graft, start_build};
pub use build::branch_spec::BranchSpec;
pub use build::failed_step::{give_up, has_failed};
pub use build::fork::{ForkOptions, fork, fork_failed, keep_fork, own_memory, session_in};
pub use build::found::Found;
pub use build::recall::{Candidate, Recalled, accept, recall, recall_superseded};
pub use build::resume::{Resume, ResumePoint, resume_points};
pub use build::root::{find_root, make_root};
pub use build::state_root::{find_state_root, make_state_root};
pub use build::stop_forks::{Stopped, stop_all_forks, stop_forks};
pub use build::working_fork::{WorkingFork, go_back, keep_work, make_room_to_go_back, work_on, work_on_failed};
pub use change::delete::{Scope, erase, preview_erase};
pub use change::delete_machine::{delete, preview_delete};
pub use change::gc::{GcPreview, collect_leftovers, gc, preview_gc};
pub use change::new_snapshot::{
    DiskChoice, NewSnapshot, redefine_snapshot, set_comment, take_described, take_snapshot,
};
pub use change::power;
pub use change::revert::{RevertPreview, preview_revert, revert};
pub use change::undo::undo;
pub use clone::builder::Builder;
pub use clone::origin::node_id;
pub use files::store::{Owner, Store};
pub use graft::sweep::{own_clones, sweep};
pub use guest::console::{GuestConsole, console_of_fork, console_of_machine, login, open_terminal, wait_for_shutdown};
pub use guest::copy::{Copy, CopyOptions, GuestPath};
pub use guest::forward::{Through, forward, forward_back, forward_for_good};
pub use guest::running::running_guest;
pub use kept::restores::Restores;
pub use machine::engine::Engine;
pub use machine::filter::Filter;
pub use machine::forced::Forced;
pub use machine::machine::Machine;
pub use owners::collect::{Collected, WhyLeft};
pub use record::definition::Definition;
pub use record::journal::Journal;
pub use record::key::NamedInputs;
pub use record::node::Node;
pub use record::node_id::NodeId;
pub use record::operation::{Content, Operation, Outcome, Payload, Request};
pub use record::reason::{ASKED_FOR, Reason};
pub use serial::serial_console::pattern;
pub use step::hollow_session::HollowSession;
pub use step::live_session::LiveSession;
pub use step::recall::NoOutcome;
pub use step::replay_session::ReplaySession;
pub use step::session::Session;
pub use view::doctor::{Checkup, Finding, checkup};
pub use view::forks::{ForkInfo, Forwarded, ForwardedBack, forks};
pub use view::info::{DiskInfo, FileInfo, MachineInfo, MachineView, Only, SnapshotDiskInfo, SnapshotInfo};
pub use view::info::{machine_info, machines, snapshot_info, snapshot_xml};
pub use view::log::{FailedLog, FailedOperation, FailedView, Log, LoggedOperation, failed_log, log};
pub use view::plan::{MachinePlan, NodeStatus, NotPlanned, Placeholder, Plan, PlannedNode, Status};
pub use view::tree::{SnapshotView, TreeView, trees};
pub use view::undo_list::{UndoView, undo_entries};
