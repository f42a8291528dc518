//! The formats of disk images.

use serde::{Deserialize, Serialize};

/// The format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Raw,
    Qcow2,
    Vdi,
    Vmdk,
    /// VHD, which QEMU names after Virtual PC.
    Vpc,
    Vhdx,
    Qed,
}

impl Format {
    /// The names that scripts may use; the second name of VHD is the one that its publishers use.
    pub const NAMES: [&str; 8] = ["raw", "qcow2", "vdi", "vmdk", "vhd", "vpc", "vhdx", "qed"];

    /// Reads one of [`Format::NAMES`].
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "raw" => Self::Raw,
            "qcow2" => Self::Qcow2,
            "vdi" => Self::Vdi,
            "vmdk" => Self::Vmdk,
            "vhd" | "vpc" => Self::Vpc,
            "vhdx" => Self::Vhdx,
            "qed" => Self::Qed,
            _ => return None,
        })
    }

    /// Returns the name that QEMU and libvirt have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vdi => "vdi",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Qed => "qed",
        }
    }

    /// Returns the usual name of such an image.
    pub(in crate::image) fn noun(self) -> &'static str {
        match self {
            Self::Raw => "a raw disk",
            Self::Qcow2 => "a qcow2 image",
            Self::Vdi => "a VDI image",
            Self::Vmdk => "a VMDK image",
            Self::Vpc => "a VHD image",
            Self::Vhdx => "a VHDX image",
            Self::Qed => "a QED image",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_a_format_and_qemu_knows_it_by_one() {
        let told: Vec<&str> = Format::NAMES.iter().map(|name| Format::named(name).unwrap().as_str()).collect();
        assert_eq!(told, ["raw", "qcow2", "vdi", "vmdk", "vpc", "vpc", "vhdx", "qed"]);
        assert_eq!(Format::named("img"), None);
    }
}
