//! Steps in progress: replayed against a journal, or carried out in a guest.

mod directories;
pub mod hollow_session;
pub mod live_session;
pub mod perform;
pub mod recall;
pub mod replay_session;
pub mod session;
mod sync_dir;
