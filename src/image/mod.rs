//! Disk images: where they come from, and the cache that keeps them.
//!
//! An [`Image`] is a description. Nothing is built or downloaded before a call to [`Image::ready`] or the use of a
//! [`Workshop`].

mod cache;
mod content;
mod converted;
mod download;
mod file;
#[expect(clippy::module_inception, reason = "a file is a noun and holds the type of that name")]
mod image;
mod progress;
mod ready;
mod unwrap;
mod workshop;

pub use cache::{CachedImage, CachedKind, ImageCache};
pub use content::format::Format;
pub use image::{Image, Reading, Ready, Source};
pub use workshop::{Claim, Workshop};
