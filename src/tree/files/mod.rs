//! Files: where they are, their identity, who made them, and the directories of small records.

pub mod disk_usage;
pub mod draft;
pub mod file_id;
pub mod json_dir;
pub mod made;
pub mod store;
