//! Directories as tar archives: what is in them, packed on one side and unpacked on the other.

pub mod exclude;
pub mod holes;
pub mod listing;
pub mod pack;
pub mod stream;
pub mod unpack;

#[cfg(test)]
mod tests;
