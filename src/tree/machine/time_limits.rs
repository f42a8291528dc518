//! How long the engine waits for guests, and when it takes checkpoints.

use std::time::Duration;

/// For the guest of a new clone to answer: to resume, or to boot.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// For a guest to shut down.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// For a guest to write its disks before it is frozen.
pub const SYNC_LIMIT: Duration = Duration::from_secs(60);
/// The same after a failure: data written shortly before is worth a wait, but not a long one if the guest hangs.
pub const SYNC_AFTER_FAILURE_LIMIT: Duration = Duration::from_secs(20);
/// For the system of a fork to get an identity of its own.
pub const IDENTITY_LIMIT: Duration = Duration::from_secs(120);
/// For a backing chain to be copied into one image.
pub const FLATTEN_LIMIT: Duration = Duration::from_secs(3600);
/// How long after the start of a step its first checkpoint is taken.
pub const CHECKPOINT_AFTER: Duration = Duration::from_secs(10);
