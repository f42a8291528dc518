pub mod branch;
pub mod fork;
pub mod plan;
pub mod root;
pub mod take;
pub mod tree;
