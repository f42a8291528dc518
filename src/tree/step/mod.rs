//! Steps in progress: replayed against a journal, or carried out in a guest.

pub mod perform;
pub mod recall;
pub mod session;
