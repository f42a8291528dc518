//! The manual agrees with the code both ways: everything it describes exists, and everything that exists is described.

mod agreement;
mod options;
mod recorder;
mod shown;
