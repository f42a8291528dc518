//! The snapshot primitives on a domain that somebody else made, step by step on the fake hypervisor.

mod files;
mod inside;
mod looks;
mod ram;
mod session;
mod settle;
