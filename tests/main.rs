//! Everything that is tested through the real binary, and the rules that hold the source together.

mod commands;
mod fake;
mod qemu;
mod refusals;
mod run;
mod support;
mod walls;
