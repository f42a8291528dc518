pub mod error;
pub mod failure;
pub mod options;
pub mod show;
pub mod source;
pub mod tokens;
