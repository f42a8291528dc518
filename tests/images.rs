//! Image files that others made: packed ones are unpacked, and a file that is no disk is refused by name.

use std::io::Write;

use crate::support::{DISK, Ran, Test};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("cannot write to memory");
    writer.finish().expect("cannot write to memory")
}

/// A run that makes a root of the file `name`, with these options for the image.
fn root(name: &str, content: impl AsRef<[u8]>, options: &str) -> Test {
    Test::new()
        .file(name, content)
        .script(&format!("machine('lab', {{ image = image.file('{name}'{options}) }}):root('base')"))
        .args(["run", "script.lua"])
}

/// What the cache holds of images, finished and unfinished.
fn cached(ran: &Ran) -> Vec<String> {
    let list = |place: &str| std::fs::read_dir(ran.path().join("cache").join(place)).expect("the cache has it");
    let names = ["converted", "work", "images", "downloads"].map(list).into_iter().flatten();
    names.map(|entry| entry.expect("cannot list").file_name().to_string_lossy().into_owned()).collect()
}

#[track_caller]
fn refused(name: &str, content: impl AsRef<[u8]>, options: &str, error: &str) {
    let ran = root(name, content, options).status(1).any_stderr().run();
    let said = ran.stderr.split_once("the tree is unchanged.\n").expect("the root failed").1;
    assert_eq!(said, format!("error: script.lua:1: {error}"));
    assert_eq!(ran.domains(), Vec::<String>::new(), "nothing is defined");
    assert_eq!(cached(&ran), Vec::<String>::new(), "nothing is kept");
    assert!(!ran.path().join("store/lab").exists(), "nothing is stored");
}

#[test]
fn what_is_no_disk_is_refused_by_name_before_anything_is_made() {
    let mut iso = vec![0; 64 << 10];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    refused(
        "netinst.img",
        iso,
        "",
        "cannot use image `netinst.img`: it is an image of a CD or DVD (ISO 9660)\n\
         hint: install a system from it and use that disk, or say format = \"raw\" to use its bytes as the disk\n",
    );
    refused(
        "disk.qcow2",
        "<!DOCTYPE html>\n<title>404</title>\n",
        "",
        "cannot use image `disk.qcow2`: it is a web page (HTML)\n\
         hint: the server sent a page in place of the image: check the address\n",
    );
    refused(
        "disk.vmdk",
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n",
        "",
        "cannot use image `disk.vmdk`: it is a VMDK descriptor, which only names the files that hold the disk\n\
         hint: convert it where those files are: qemu-img convert -O qcow2 disk.vmdk disk.qcow2\n",
    );
    refused(
        "disk.zip",
        b"PK\x03\x04",
        "",
        "cannot use image `disk.zip`: it is a ZIP archive\nhint: unpack it, and name the disk image inside\n",
    );
    refused(
        "disk.raw",
        "raw",
        "",
        "cannot use image `disk.raw`: it is a text file\n\
         hint: look at the file; if its bytes are the disk itself, say format = \"raw\"\n",
    );
    refused(
        "disk.raw",
        "",
        "",
        "cannot use image `disk.raw`: it is empty\nhint: get it again: the download may have failed\n",
    );
    refused(
        "disk.gz",
        gzip(b"PK\x03\x04"),
        "",
        "cannot use image `disk.gz`: unpacked, it is a ZIP archive\nhint: unpack it, and name the disk image inside\n",
    );
    let packed = gzip(DISK.as_bytes());
    refused(
        "disk.gz",
        &packed[..packed.len() - 4],
        "",
        "cannot unpack image `disk.gz`: it ends too early\nhint: the file is damaged or not complete: get it again\n",
    );
}

#[test]
fn a_small_file_that_unpacks_to_a_large_one_is_given_up() {
    // Zeros become holes: what is limited is the size that comes out, not only the room that it takes.
    let bomb = gzip(&vec![0; 3 << 20]);
    refused(
        "bomb.gz",
        &bomb,
        ", { max_size = '2MiB' }",
        "cannot use image `bomb.gz`: unpacked, it is larger than its `max_size` of 2.0 MiB\nhint: raise `max_size`\n",
    );
    root("bomb.gz", &bomb, ", { max_size = '3MiB' }").any_stderr().run();
}

#[test]
fn an_image_whose_format_is_said_wrongly_is_refused() {
    refused(
        "disk.img",
        [7; 512],
        ", { format = 'vhdx' }",
        "cannot use image `disk.img`: it is not a VHDX image\nhint: leave the option `format` out for a raw disk\n",
    );
    root("disk.img", DISK, ", { format = 'vmkd' }")
        .status(1)
        .stderr(
            "
            error: script.lua:1: image.file: `format` must be \"raw\", \"qcow2\", \"vdi\", \"vmdk\", \"vhd\", \"vpc\", \"vhdx\" or \"qed\", not \"vmkd\"
            hint: did you mean \"vmdk\"?
            ",
        )
        .run();
    root("notes.txt", "hello\n", ", { format = 'raw' }").any_stderr().run();
}

#[test]
fn a_packed_disk_is_unpacked_once_and_can_be_removed() {
    let ran = root("disk.raw.gz", gzip(DISK.as_bytes()), "")
        .stderr(
            "
            base: building, because it does not exist yet.
            disk.raw.gz: unpacking.
            disk.raw.gz: ready after [TIME].
            base: built in [TIME].
            base (current)
            ",
        )
        .run();
    assert_eq!(cached(&ran).len(), 2, "a disk and its record");
    let script = "machine('other', { image = image.file('disk.raw.gz') }):root('base')";
    let again = ran.again().script(script).args(["run", "script.lua"]).any_stderr().run();
    assert!(!again.stderr.contains("unpacking"), "{}", again.stderr);
    let listed = ran.again().no_connect().args(["images", "list", "--json"]).any_stdout().run().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"disk.raw.gz".into(), &"converted".into()));
    ran.again()
        .no_connect()
        .args(["images", "remove", "disk.raw.gz", "--yes"])
        .stderr("Removed image `disk.raw.gz`.\n")
        .run();
    assert_eq!(cached(&ran), Vec::<String>::new());
}

#[test]
fn the_checksum_is_that_of_the_file_as_it_was_published() {
    let packed = gzip(DISK.as_bytes());
    let ran = root("disk.gz", &packed, ", { sha256 = ('0'):rep(64) }").status(1).any_stderr().run();
    assert!(ran.stderr.contains("has the wrong checksum"), "{}", ran.stderr);
    assert_eq!(cached(&ran), Vec::<String>::new(), "it is checked before it is unpacked");
    let sum = ran.stderr.split_once("found ").and_then(|(_, rest)| rest.lines().next()).expect("the right one is told");
    root("disk.gz", &packed, &format!(", {{ sha256 = '{sum}' }}")).any_stderr().run();
}

#[test]
fn a_plan_unpacks_nothing() {
    let ran = root("disk.gz", gzip(DISK.as_bytes()), "").any_stderr().run();
    let other = "machine('other', { image = image.file('disk.gz', { format = 'raw' }) }):root('base')";
    ran.again().no_connect().args(["images", "remove", "disk.gz", "--yes"]).any_stderr().run();
    ran.again().script(other).args(["plan", "script.lua"]).status(2).any_stdout().run();
    assert_eq!(cached(&ran), Vec::<String>::new());
}

#[test]
fn saying_the_format_that_the_content_tells_rebuilds_nothing() {
    let ran = root("disk.gz", gzip(DISK.as_bytes()), "").any_stderr().run();
    let plan = |options: &str, status: i32| {
        let script = format!("machine('lab', {{ image = image.file('disk.gz', {options}) }}):root('base')");
        ran.again().script(&script).args(["plan", "script.lua"]).status(status).any_stdout().run();
    };
    plan("{ format = 'raw' }", 0);
    plan("{ max_size = '1GiB' }", 0);
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.resize(512, 0);
    qcow2[24..32].copy_from_slice(&512u64.to_be_bytes());
    let ran = root("disk.gz", gzip(&qcow2), "").any_stderr().run();
    let script = "machine('lab', { image = image.file('disk.gz', { format = 'raw' }) }):root('base')";
    ran.again().script(script).args(["plan", "script.lua"]).status(2).any_stdout().run();
}
