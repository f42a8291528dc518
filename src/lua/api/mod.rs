pub mod connection;
pub mod host;
pub mod machine;
pub mod parallel;
pub mod require;
