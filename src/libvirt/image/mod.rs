//! Image files, read by their content or handed to `qemu-img`, and copies with holes.

pub mod copy;
pub mod depends;
pub mod overlay;
pub mod qcow2;
pub mod qemu_img;
pub mod sparse;
