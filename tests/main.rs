//! Everything that is tested through the real binary, and the rules that hold the source together.

mod busy;
mod commands;
mod differences;
mod failed;
mod fake;
mod forks;
mod input;
mod opened;
mod plan;
mod preflight;
mod primitives;
mod progress;
mod qemu;
mod rebuilt;
mod recipes;
mod refactorings;
mod refusals;
mod repl;
mod resume;
mod run;
mod shell;
mod snapshots;
mod support;
mod together;
mod walls;
mod wanted;
