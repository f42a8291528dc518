//! The snapshot primitives on a domain that snaptree did not create, step by step on the fake hypervisor.

mod files;
mod inside;
mod looks;
mod ram;
mod session;
mod settle;
