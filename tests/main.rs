//! Everything that is tested through the real binary, and the rules that hold the source together.

mod fake;
mod support;
mod walls;
