//! A guest's RAM in files: saved, mapped, and tried out.

pub mod live;
pub mod live_trial;
pub mod save_image;
