//! Disk images: where they come from, and the cache that keeps them.
//!
//! An [`Image`] is a description. Nothing is built or downloaded before a call to [`Image::ready`] or the use of a
//! [`Workshop`].

mod cache;
mod content;
mod converted;
mod description;
mod download;
mod file;
mod progress;
mod ready;
mod unwrap;
mod workshop;

pub use cache::{CachedImage, CachedKind, ImageCache};
pub use content::format::Format;
pub use description::{Image, Reading, Ready, Source};
pub use workshop::{Claim, Workshop};
