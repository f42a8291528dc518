//! The port's calls, each as one or two of libvirt's.

pub mod hypervisor;
