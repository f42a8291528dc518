//! The manual says what the code does, both ways: nothing is told that is not there, and nothing is there untold.

mod agreement;
mod options;
mod recorder;
mod shown;
