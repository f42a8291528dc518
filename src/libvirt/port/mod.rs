//! The port's calls, each as one or two of libvirt's.

mod clones;
mod domains;
mod guests;
mod images;
pub mod libvirt;
mod snapshots;
