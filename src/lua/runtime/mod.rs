pub mod ask;
pub mod budget;
pub mod contents;
pub mod context;
pub mod control;
pub mod endings;
pub mod params;
pub mod raised;
