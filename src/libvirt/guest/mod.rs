//! The ways into a running guest: its agent's port, its console and QEMU's monitor.

pub mod attendant;
pub mod attendant_place;
pub mod attended_line;
pub mod channel;
pub mod line;
pub mod monitor;
pub mod socket_line;
pub mod stream_console;
pub mod stream_line;
pub mod transfer;
pub mod user_network;
