//! Images as other programs make them: each becomes a root with the very bytes of the disk, or is refused.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::foreign::{between, qemu_img};
use super::lab::Lab;
use crate::support::Test;

const SIZE: usize = 8 << 20;

/// A disk with something on it, and the directory of the images that are made of it.
struct Stranger {
    directory: tempfile::TempDir,
    disk: Vec<u8>,
}

impl Stranger {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = vec![0; SIZE];
        disk[..64 << 10].fill(7);
        disk[510..512].copy_from_slice(b"\x55\xaa");
        // What cannot be compressed, so that packed images have an end worth missing.
        for (at, bytes) in (0u32..).zip(disk[5 << 20..][..200_000].chunks_exact_mut(4)) {
            bytes.copy_from_slice(
                &at.wrapping_mul(2_654_435_761).wrapping_add(at >> 3).rotate_left(at % 32).to_le_bytes(),
            );
        }
        fs::write(directory.path().join("disk.raw"), &disk).unwrap();
        Self { directory, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Converts the disk with `qemu-img`.
    fn convert(&self, name: &str, format: &str, options: &[&str]) -> String {
        let (from, to) = (self.path("disk.raw"), self.path(name));
        let files = [from.to_str().unwrap(), to.to_str().unwrap()];
        qemu_img(&[&["convert", "-f", "raw", "-O", format], options, &files].concat());
        name.to_string()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        name.to_string()
    }

    /// Packs a file once more; its name gets another ending.
    fn pack(&self, name: &str, ending: &str) -> String {
        let (content, packed) = (fs::read(self.path(name)).unwrap(), format!("{name}.{ending}"));
        let file = File::create(self.path(&packed)).unwrap();
        match ending {
            "gz" => {
                let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                writer.write_all(&content).and_then(|()| writer.finish()).unwrap();
            }
            "xz" => {
                let mut writer = liblzma::write::XzEncoder::new(file, 0);
                writer.write_all(&content).and_then(|()| writer.finish()).unwrap();
            }
            "bz2" => {
                let mut writer = bzip2::write::BzEncoder::new(file, bzip2::Compression::fast());
                writer.write_all(&content).and_then(|()| writer.finish()).unwrap();
            }
            _ => zstd::stream::copy_encode(&content[..], file, 1).unwrap(),
        }
        packed
    }

    fn archive(&self, name: &str, members: &[&str]) -> String {
        let mut builder = tar::Builder::new(File::create(self.path(name)).unwrap());
        for member in members {
            builder.append_path_with_name(self.path(member), member).unwrap();
        }
        builder.finish().unwrap();
        name.to_string()
    }

    fn ova(&self, disk: &str) -> String {
        let ovf = format!(
            "<?xml version='1.0'?><Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
             xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'><References><File ovf:id='f' ovf:href='{disk}'/>\
             </References><DiskSection><Disk ovf:diskId='d' ovf:fileRef='f'/></DiskSection></Envelope>"
        );
        self.write("vm.ovf", ovf.as_bytes());
        self.archive("vm.ova", &["vm.ovf", disk])
    }

    /// The name and the options of each image that is taken.
    fn taken(&self) -> Vec<(String, &'static str)> {
        let plain = [
            "disk.raw".to_string(),
            self.convert("plain.qcow2", "qcow2", &[]),
            self.convert("old.qcow2", "qcow2", &["-o", "compat=0.10,cluster_size=4k"]),
            self.convert("packed.qcow2", "qcow2", &["-c"]),
            self.convert("new.qcow2", "qcow2", &["-o", "extended_l2=on,cluster_size=128k"]),
            self.convert("disk.vdi", "vdi", &[]),
            self.convert("static.vdi", "vdi", &["-o", "static=on"]),
            self.convert("disk.vmdk", "vmdk", &[]),
            self.convert("stream.vmdk", "vmdk", &["-o", "subformat=streamOptimized"]),
            self.convert("disk.vhd", "vpc", &["-o", "force_size=on"]),
            self.convert("fixed.vhd", "vpc", &["-o", "subformat=fixed,force_size=on"]),
            self.convert("disk.vhdx", "vhdx", &[]),
            self.convert("fixed.vhdx", "vhdx", &["-o", "subformat=fixed"]),
            self.convert("disk.qed", "qed", &[]),
        ];
        let kept = self.path("plain.qcow2");
        qemu_img(&["snapshot", "-c", "inside", kept.to_str().unwrap()]);
        let packed = [
            self.pack("disk.raw", "gz"),
            self.pack("disk.raw", "bz2"),
            self.pack("plain.qcow2", "xz"),
            self.pack("disk.vdi", "zst"),
            self.pack("fixed.vhd", "gz"),
            self.archive("disk.tar", &["plain.qcow2"]),
            self.ova("stream.vmdk"),
        ];
        let twice = [self.pack("disk.raw.gz", "xz"), self.pack("disk.tar", "gz")];
        let all = plain.into_iter().chain(packed).chain(twice).map(|name| (name, ""));
        let said = [
            ("disk.vhd".to_string(), ", { format = 'vhd' }"),
            ("fixed.vhd".to_string(), ", { format = 'vpc' }"),
            ("plain.qcow2.xz".to_string(), ", { format = 'qcow2' }"),
            ("disk.raw.bz2".to_string(), ", { format = 'raw' }"),
        ];
        all.chain(said).collect()
    }
}

/// The disk of a root, as its guest would see it.
fn layer(lab: &Lab, machine: &str) -> Vec<u8> {
    let xml = lab.virsh(&["snapshot-dumpxml", machine, "base"]);
    let inactive = between(&xml, "<domain ", "</domain>").unwrap();
    let file = between(inactive, "<source file='", "'").unwrap();
    let raw = lab.store.join("layer.raw");
    qemu_img(&["convert", "-U", "-f", "qcow2", "-O", "raw", file, raw.to_str().unwrap()]);
    let bytes = fs::read(&raw).unwrap();
    fs::remove_file(raw).unwrap();
    bytes
}

/// Defines a root for each image, named by its place in the list.
fn roots(directory: &Path, images: &[(String, &str)]) -> String {
    let line = |(n, (name, options)): (usize, &(String, &str))| {
        let file = directory.join(name);
        format!(
            "machine(MACHINE .. '-{n}', {{ image = image.file('{}'{options}), memory = '64MiB' }}):root('base')\n",
            file.display()
        )
    };
    images.iter().enumerate().map(line).collect()
}

#[test]
#[ignore = "needs QEMU"]
fn every_wrapping_of_a_disk_becomes_a_root_with_its_bytes() {
    let (lab, stranger) = (Lab::new("images"), Stranger::new());
    let taken = stranger.taken();
    let cache = stranger.path("cache");
    lab.script(&roots(stranger.directory.path(), &taken)).env("SNAPTREE_CACHE", cache).any_stderr().run();
    for (n, (name, options)) in taken.iter().enumerate() {
        let bytes = layer(&lab, &format!("{}-{n}", lab.machine));
        assert!(bytes == stranger.disk, "{name}{options}: {} bytes that are others", bytes.len());
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_that_is_said_to_be_raw_stays_what_it_is_with_a_header_of_qcow2_on_it() {
    let (lab, stranger) = (Lab::new("raw"), Stranger::new());
    let images = [(stranger.convert("plain.qcow2", "qcow2", &[]), ", { format = 'raw' }")];
    let cache = stranger.path("cache");
    lab.script(&roots(stranger.directory.path(), &images)).env("SNAPTREE_CACHE", cache).any_stderr().run();
    let bytes = layer(&lab, &format!("{}-0", lab.machine));
    assert!(bytes == fs::read(stranger.path("plain.qcow2")).unwrap(), "the header was followed");
}

/// What a run on the fake hypervisor says about an image; nothing may be left of it.
fn refusal(stranger: &Stranger, name: &str) -> String {
    let file = stranger.path(name);
    let ran = Test::new()
        .script(&format!("machine('lab', {{ image = image.file('{}') }}):root('base')", file.display()))
        .args(["run", "script.lua"])
        .status(1)
        .any_stderr()
        .run();
    assert_eq!(ran.domains(), Vec::<String>::new());
    for place in ["cache/converted", "cache/work"] {
        assert_eq!(fs::read_dir(ran.path().join(place)).unwrap().count(), 0, "{name}: {place}");
    }
    let error = ran.stderr.split_once("error: script.lua:1: ").expect("an error").1;
    error.lines().next().unwrap().replace(&stranger.directory.path().display().to_string(), "[DIR]")
}

#[test]
#[ignore = "needs qemu-img"]
fn what_names_other_files_or_is_damaged_is_refused_as_the_programs_write_it() {
    let stranger = Stranger::new();
    let create = |name: &str, format: &str, options: &[&str]| {
        let to = stranger.path(name);
        qemu_img(&[&["create", "-q", "-f", format], options, &[to.to_str().unwrap(), "8M"]].concat());
    };
    for format in ["qcow2", "vmdk", "qed"] {
        let base = stranger.path(&stranger.convert(&format!("base.{format}"), format, &[]));
        let file = stranger.path(&format!("overlay.{format}"));
        let [base, file] = [&base, &file].map(|path| path.to_str().unwrap());
        qemu_img(&["create", "-q", "-f", format, "-b", base, "-F", format, file]);
        assert_eq!(
            refusal(&stranger, &format!("overlay.{format}")),
            format!("cannot use image `overlay.{format}`: it depends on the backing file `[DIR]/base.{format}`")
        );
    }
    let data = format!("data_file={}", stranger.path("data.raw").display());
    create("external.qcow2", "qcow2", &["-o", &data]);
    assert_eq!(
        refusal(&stranger, "external.qcow2"),
        "cannot use image `external.qcow2`: it keeps its data in another file"
    );
    let secret: [&str; 4] =
        ["--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"];
    create("luks.qcow2", "qcow2", &secret);
    assert_eq!(refusal(&stranger, "luks.qcow2"), "cannot use image `luks.qcow2`: it is encrypted");
    create("plain.luks", "luks", &["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"]);
    assert_eq!(refusal(&stranger, "plain.luks"), "cannot use image `plain.luks`: it is encrypted with LUKS");
    for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        stranger.convert("split.vmdk", "vmdk", &["-o", &format!("subformat={subformat}")]);
        assert_eq!(
            refusal(&stranger, "split.vmdk"),
            "cannot use image `split.vmdk`: it is a VMDK descriptor, which only names the files that hold the disk"
        );
    }
}

#[test]
#[ignore = "needs qemu-img"]
fn a_disk_with_a_virtual_size_of_0_is_refused_in_any_format() {
    let stranger = Stranger::new();
    for format in ["qcow2", "qed", "vdi", "vpc"] {
        let name = format!("blank.{format}");
        qemu_img(&["create", "-q", "-f", format, stranger.path(&name).to_str().unwrap(), "0"]);
        let expected = format!("cannot use image `{name}`: it has a virtual size of 0");
        assert_eq!(refusal(&stranger, &name), expected);
    }
}

#[test]
#[ignore = "needs qemu-img"]
fn an_image_of_which_the_end_is_missing_is_refused() {
    let stranger = Stranger::new();
    let lacks = "it is cut off: a part of the disk is missing";
    for (name, format, options, cause) in [
        ("a.qcow2", "qcow2", &[][..], lacks),
        ("b.qcow2", "qcow2", &["-c"], lacks),
        ("c.qcow2", "qcow2", &["-o", "extended_l2=on,cluster_size=128k"], lacks),
        ("a.vdi", "vdi", &[], lacks),
        ("a.vmdk", "vmdk", &[], lacks),
        ("b.vmdk", "vmdk", &["-o", "subformat=streamOptimized"], lacks),
        ("a.vhd", "vpc", &[], lacks),
        ("a.vhdx", "vhdx", &[], ""),
    ] {
        stranger.convert(name, format, options);
        // So much that more is missing than what only fills the file up.
        let content = fs::read(stranger.path(name)).unwrap();
        stranger.write(name, &content[..content.len() * 3 / 5]);
        let said = refusal(&stranger, name);
        let verb = if cause.is_empty() { "convert" } else { "use" };
        assert!(said.starts_with(&format!("cannot {verb} image `{name}`: {cause}")), "{said}");
    }
}
