//! Disks that a snapshot cannot hold.

use serde_json::{Value, json};

use crate::support::web::Web;

const EXTERNAL: &str = "hint: take an external snapshot: `--external`, in Lua `kind = \"external\"`";
const WITHOUT: &str = "leave it out: `--diskspec vdb,snapshot=no`, in Lua `disks = { vdb = false }`";

fn with_vdb(disk: Value) -> Web {
    Web::new().document("disks/vdb", disk)
}

#[test]
fn a_raw_disk_has_no_room_for_an_internal_snapshot() {
    let why = "no snapshot can hold disk `vda` of `web`: it is raw, and an internal snapshot lives inside a qcow2 file";
    Web::new()
        .document("disks/vda", json!({ "file": "[DIR]/vm/web.qcow2", "format": "raw" }))
        .refuses("snapshot web sn01 --internal", &format!("{why}\n{EXTERNAL}"))
        .refuses_statement("web:snapshot('sn01', { kind = 'internal' })", &format!("{why}\n{EXTERNAL}"));
}

#[test]
fn a_disk_that_is_no_file_has_to_be_left_out() {
    let refuses = |disk, why: &str| {
        let why = format!("no snapshot can hold disk `vdb` of `web`: {why}");
        with_vdb(disk)
            .refuses("snapshot web sn01", &why)
            .refuses("snapshot web sn01 --internal", &why)
            .run("snapshot web sn01 --diskspec vdb,snapshot=no")
            .stderr("Took snapshot `sn01` of `web`.\n")
            .run();
    };
    refuses(
        json!({ "volume": { "pool": "default", "volume": "data.qcow2" } }),
        &format!(
            "it is the volume `data.qcow2` of the pool `default`\n\
             hint: `virsh vol-path --pool=default data.qcow2` tells its file, `virsh edit web` puts that in its \
             place; or {WITHOUT}"
        ),
    );
    refuses(json!({ "network": "rbd" }), &format!("it is on the network (rbd)\nhint: {WITHOUT}"));
    refuses(
        json!({ "block": "/dev/vg/data", "format": "raw" }),
        &format!("it is the block device `/dev/vg/data`\nhint: {WITHOUT}"),
    );
    refuses(json!({ "other": "vhostuser" }), &format!("it is of the type vhostuser\nhint: {WITHOUT}"));
}

#[test]
fn a_disk_whose_overlay_would_not_be_what_it_is_has_to_be_left_out() {
    let refuses = |disk, why: &str| {
        let why = format!("no snapshot can hold disk `vdb` of `web`: {why}");
        with_vdb(disk)
            .refuses("snapshot web sn01 --diskspec vdb", &why)
            .run("snapshot web sn01 --diskspec vdb,snapshot=no")
            .stderr("Took snapshot `sn01` of `web`.\n")
            .run();
    };
    let data = "[DIR]/vm/data.qcow2";
    refuses(
        json!({ "file": data, "encryption": "luks" }),
        &format!("it is encrypted (luks), and its overlay would not be\nhint: {WITHOUT}"),
    );
    refuses(
        json!({ "file": data, "shareable": true }),
        &format!("other domains may write to it (`<shareable/>`)\nhint: {WITHOUT}"),
    );
    refuses(
        json!({ "file": data, "transient": true }),
        &format!("what is written to it is discarded when the guest stops (`<transient/>`)\nhint: {WITHOUT}"),
    );
    refuses(
        json!({ "file": data, "block_job": true }),
        "it has a block job\nhint: `virsh blockjob web vdb` shows it, with `--abort` it ends",
    );
}

#[test]
fn a_disk_that_is_not_this_guests_alone_is_left_out_and_said_to_be() {
    let leaves_out = |disk, why: &str| {
        let note = format!("the snapshot leaves out disk `vdb` of `web`: {why}.\n");
        let web = with_vdb(disk);
        web.run("snapshot web sn01").stderr(&format!("{note}Took snapshot `sn01` of `web`.\n")).run();
        web.run("revert web/sn01 --yes").stderr("Reverted `web` to `sn01`.\n").run();
        let state = std::fs::read_to_string(web.test.path().join("state.json")).expect("a state");
        let state: Value = serde_json::from_str(&state).expect("JSON");
        let file = &state["domains"]["web"]["document"]["disks"]["vdb"]["file"];
        assert_eq!(*file, json!(web.here("[DIR]/vm/data.qcow2")), "{why}");
    };
    let data = "[DIR]/vm/data.qcow2";
    leaves_out(json!({ "file": data, "shareable": true }), "other domains may write to it (`<shareable/>`)");
    leaves_out(
        json!({ "file": data, "transient": true }),
        "what is written to it is discarded when the guest stops (`<transient/>`)",
    );
    leaves_out(json!({ "file": data, "snapshot": "manual" }), "its snapshots are taken by hand");
}

#[test]
fn the_root_of_a_domain_stands_for_all_disks_that_its_guest_writes_to() {
    let root = |disk, why: &str| {
        let hint = "hint: a root stands for all disks that a guest writes to: detach it, or make it a file";
        let why = format!("disk `vdb` of `web` cannot be copied: {why}\n{hint}");
        with_vdb(disk).refuses_statement("web:root('found')", &why);
    };
    root(json!({ "network": "rbd" }), "it is on the network (rbd)");
    root(json!({ "block": "/dev/vg/data", "format": "raw" }), "it is the block device `/dev/vg/data`");
    let data = "[DIR]/vm/data.qcow2";
    root(json!({ "file": data, "shareable": true }), "other domains may write to it (`<shareable/>`)");
    root(json!({ "file": data, "encryption": "luks" }), "it is encrypted (luks), and its overlay would not be");
}

#[test]
fn what_no_guest_writes_to_takes_part_in_no_snapshot() {
    let refuses = |disk, why: &str| {
        let hint = "hint: do not ask for `vdb`: a snapshot holds the disks that are written to";
        with_vdb(disk).refuses(
            "snapshot web sn01 --diskspec vdb",
            &format!("no snapshot can hold disk `vdb` of `web`: {why}\n{hint}"),
        );
    };
    refuses(json!({ "device": "cdrom" }), "it is an empty drive");
    refuses(json!({ "device": "cdrom", "file": "/iso/seed.iso" }), "it is read-only");
    refuses(json!({ "device": "floppy", "file": "/iso/a.img" }), "it is a floppy");
}

#[test]
fn a_disk_that_is_not_there_is_named_with_the_nearest_one() {
    with_vdb(json!("[DIR]/vm/data.qcow2"))
        .refuses("snapshot web sn01 --diskspec vdd", "`web` has no disk `vdd`\nhint: did you mean `vdb`?")
        .refuses("snapshot web sn01 --diskspec sr0", "`web` has no disk `sr0`\nhint: its disks are: vda, vdb")
        .refuses_statement(
            "web:snapshot('sn01', { disks = { vdd = true } })",
            "`web` has no disk `vdd`\nhint: did you mean `vdb`?",
        );
}

#[test]
fn a_snapshot_without_any_disk_is_refused() {
    let why = "no disk of `web` takes part in the snapshot\n\
               hint: `snaptree info web` lists its disks; name one with `--diskspec`";
    Web::new().refuses("snapshot web sn01 --diskspec vda,snapshot=no", why);
    Web::new()
        .document("disks/vda", json!({ "file": "[DIR]/vm/web.qcow2", "snapshot": "no" }))
        .refuses("snapshot web sn01", why);
}

#[test]
fn an_overlay_goes_where_a_file_can_be_made() {
    Web::new().document("disks/vda", json!("/proc/disk.qcow2")).refuses(
        "snapshot web sn01",
        "cannot make a file in `/proc`: No such file or directory\nhint: the disk's new overlay goes there",
    );
    Web::new().refuses(
        "snapshot web sn01 --diskspec vda,file=/proc/overlay",
        "cannot make a file in `/proc`: No such file or directory\nhint: the disk's new overlay goes there",
    );
}

#[test]
fn an_overlay_that_the_user_chose_is_there_or_not_as_it_should_be() {
    Web::new()
        .file("vm/there.qcow2")
        .refuses(
            "snapshot web sn01 --diskspec vda,file=[DIR]/vm/there.qcow2",
            "`[DIR]/vm/there.qcow2` exists already\nhint: choose a file that does not",
        )
        .refuses(
            "snapshot web sn01 --diskspec vda,file=[DIR]/vm/gone.qcow2 --reuse-external",
            "`[DIR]/vm/gone.qcow2` does not exist: an overlay that is to be reused has to be there\n\
             hint: make it with `qemu-img create -b`, or do not ask for it to be reused",
        )
        .refuses_statement(
            "web:snapshot('sn01', { disks = { vda = '[DIR]/vm/there.qcow2' } })",
            "`[DIR]/vm/there.qcow2` exists already\nhint: choose a file that does not",
        )
        .refuses(
            "snapshot web sn01 --diskspec vda,file=[DIR]/vm/there.qcow2 --reuse-external",
            "`[DIR]/vm/there.qcow2` cannot be reused as an overlay: it is not a qcow2 image with the backing file \
             `[DIR]/vm/web.qcow2`\nhint: make it with `qemu-img create -f qcow2 -b FILE -F FORMAT`",
        )
        .with("layers", json!({ "[DIR]/vm/there.qcow2": { "backing": "[DIR]/vm/web.qcow2" } }))
        .run("snapshot web sn01 --diskspec vda,file=[DIR]/vm/there.qcow2 --reuse-external")
        .stderr("Took snapshot `sn01` of `web`.\n")
        .run();
}

#[test]
fn a_file_has_one_use_in_a_snapshot() {
    let twice = "`[DIR]/vm/n` would be two files of the snapshot\nhint: give each disk, and the RAM, a file of its own";
    with_vdb(json!("[DIR]/vm/data.qcow2")).refuses_with(
        2,
        "snapshot web sn01 --diskspec vda,file=[DIR]/vm/n --diskspec vdb,file=[DIR]/vm/../vm/n",
        &twice.replace("/vm/n`", "/vm/../vm/n`"),
    );
    Web::running().refuses_with(2, "snapshot web sn01 --memspec [DIR]/vm/n --diskspec vda,file=[DIR]/vm/n", twice);
}
