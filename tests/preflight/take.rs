//! Snapshots that cannot be taken of a machine as it is.

use serde_json::json;

use crate::support::web::Web;

const EXTERNAL: &str = "hint: take an external snapshot: `--external`, in Lua `kind = \"external\"`";
const DISKS_ALONE: &str = "hint: a snapshot of the disks alone works: `--disk-only`, in Lua `disk_only = true`";

#[test]
fn what_does_not_exist_is_named_with_the_nearest_one() {
    Web::new()
        .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
        .refuses("snapshot wep sn01", "there is no machine `wep` on fake:state.json\nhint: did you mean `web`?")
        .refuses("revert web/clear --yes", "there is no snapshot `clear` in `web`\nhint: did you mean `clean`?")
        .refuses("delete web/clear --yes", "there is no snapshot `clear` in `web`\nhint: did you mean `clean`?")
        .refuses(
            "edit web/xyz --comment x",
            "there is no snapshot `xyz` in `web`\nhint: `snaptree tree` lists what there is",
        )
        .refuses("undo wep", "there is no machine `wep` on fake:state.json\nhint: did you mean `web`?");
}

#[test]
fn a_name_is_given_once() {
    let taken = "a snapshot `clean` exists already in `web`\nhint: give it another name, or delete that one first";
    Web::new()
        .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
        .refuses("snapshot web clean", taken)
        .refuses("snapshot web clean --internal", taken)
        .refuses_statement("web:snapshot 'clean'", taken);
}

#[test]
fn a_managed_save_has_to_be_used_first() {
    let saved = "the RAM of `web` was saved to disk by a managed save: its disks must not change until it is started \
                 again\n\
                 hint: `virsh start web` resumes it, `virsh managedsave-remove web` discards its RAM";
    Web::new()
        .with("domains/web/managed_save", json!(true))
        .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
        .refuses("snapshot web sn01", saved)
        .refuses("revert web/clean --yes", saved)
        .refuses_statement("web:find 'clean':revert()", saved);
}

#[test]
fn uefi_needs_a_libvirt_and_a_format_that_keep_its_variables() {
    let uefi = |nvram: &str| Web::new().document("nvram", json!(nvram));
    let old = "`web` starts by UEFI and cannot have an internal snapshot: libvirt puts the firmware's variables into \
               one from 10.9.0 on, and this is 10.8.0";
    uefi("qcow2")
        .with("version", json!("10.8.0"))
        .refuses("snapshot web sn01 --internal", &format!("{old}\n{EXTERNAL}"))
        .refuses_statement("web:snapshot('sn01', { kind = 'internal' })", &format!("{old}\n{EXTERNAL}"));
    let raw = "`web` starts by UEFI and cannot have an internal snapshot: the file with the firmware's variables is \
               raw, not qcow2";
    uefi("raw").refuses("snapshot web sn01 --internal", &format!("{raw}\n{EXTERNAL}")).does("snapshot web sn01");
    uefi("qcow2").with("version", json!("10.9.0")).does("snapshot web sn01 --internal");
}

#[test]
fn ram_that_cannot_be_written_to_a_file_is_refused_unless_it_is_left_out() {
    let refuses = |place, value, why: &str| {
        let error = format!("the RAM of `web` cannot be saved: {why}\n{DISKS_ALONE}");
        let web = Web::running()
            .document(place, value)
            .refuses("snapshot web sn01", &error)
            .refuses("snapshot web sn01 --internal", &error)
            .refuses("snapshot web sn01 --memory", &error)
            .refuses("snapshot web sn01 --memspec [DIR]/vm/ram", &error)
            .refuses_statement("web:snapshot 'sn01'", &error);
        web.run("snapshot web sn01 --disk-only").stderr("Took snapshot `sn01` of `web`.\n").run();
        web.run("snapshot web sn02 --no-memory").stderr("Took snapshot `sn02` of `web`.\n").run();
    };
    refuses("filesystems", json!(["9p"]), "the guest mounts a host directory (9p)");
    refuses("filesystems", json!(["virtiofs"]), "the guest mounts a host directory (virtiofs)");
    refuses("host_devices", json!(true), "the guest has a host device");
}

#[test]
fn a_guest_that_is_off_has_no_ram() {
    let off = "`web` is shut off: there is no RAM to save\nhint: start it first, or take a snapshot of its disks";
    Web::new()
        .refuses("snapshot web sn01 --memory", off)
        .refuses("snapshot web sn01 --memspec [DIR]/vm/ram", off)
        .refuses_statement("web:snapshot('sn01', { memory = true })", off);
}

#[test]
fn ram_needs_room_and_a_directory_for_its_file() {
    let web = Web::running().document("memory", json!(1_u64 << 62));
    let ran = web.run("snapshot web sn01").status(1).any_stderr().run();
    let (free, rest) = ran.stderr.split_once(" free\n").expect("it says how much is free");
    let (said, free) = free.rsplit_once("`[DIR]/vm` has ").expect("it says where");
    assert_eq!(said, "error: there is not enough space for the RAM of `web`: it may take 4.0 EiB, and ");
    assert!(free.ends_with("iB"), "{free}");
    assert_eq!(rest, "hint: shut the guest down first, or leave its RAM out\n");
    assert_eq!(web.does("list web --name").stdout, "");

    Web::running()
        .file("vm/there")
        .refuses(
            "snapshot web sn01 --memspec [DIR]/vm/there",
            "`[DIR]/vm/there` exists already\nhint: choose a file that does not",
        )
        .refuses(
            "snapshot web sn01 --memspec /proc/ram",
            "cannot make a file in `/proc`: No such file or directory\nhint: the file with the RAM goes there",
        )
        .refuses_statement(
            "web:snapshot('sn01', { memory = '[DIR]/nosuch/ram' })",
            "cannot make a file in `[DIR]/nosuch`: No such file or directory\nhint: the file with the RAM goes there",
        );
}

#[test]
fn qemus_rules_for_names_hold_where_qemu_gives_them() {
    let refuses = |name: &str| {
        let error = format!(
            "an internal snapshot of a running guest cannot be named `{name}`: QEMU takes letters of ASCII, digits, \
             `-`, `.` and `_`\n\
             hint: give it another name, or take an external snapshot"
        );
        let web = Web::running().refuses(&format!("snapshot web {name} --internal"), &error);
        web.does(&format!("snapshot web {name}"));
    };
    refuses("1,st");
    refuses("ünïcode");
    refuses("a:b");
    Web::new().does("snapshot web 1st --internal");
    Web::running().does("snapshot web 1st-_. --internal");
}

#[test]
fn a_chain_gets_no_deeper_where_the_last_image_holds_a_snapshot() {
    let image = |n: usize| format!("[DIR]/vm/{n}.qcow2");
    let mut web =
        (1..=16).fold(Web::new(), |web, n| web.file(&format!("vm/{n}.qcow2"))).document("disks/vda", json!(image(16)));
    let layer = |n: usize| match n {
        1 => json!({}),
        16 => json!({ "backing": image(15), "snapshots": { "inside": {} } }),
        n => json!({ "backing": image(n - 1) }),
    };
    let layers: serde_json::Map<_, _> = (1..=16).map(|n| (image(n), layer(n))).collect();
    web = web.with("layers", layers.into()).snapshot("inside", json!({ "disks": { "vda": "internal" } })).refuses(
        "snapshot web sn01",
        "the backing chain of `vda` cannot get any deeper: it has 16 images, and `inside` is inside the last one\n\
             hint: revert to `inside` or delete it, or take a snapshot nearer to the root",
    );
    web.does("snapshot web sn01 --internal");
    web.does("delete web/sn01 --yes");
    web.does("delete web/inside --yes");
    web.run("snapshot web sn02")
        .stderr(
            "
            the backing chain of `vda` in `web` has 16 images: copying it into one.
            Took snapshot `sn02` of `web`.
            ",
        )
        .run();
}

#[test]
fn a_libvirt_that_cannot_redefine_takes_snapshots_and_does_no_more() {
    let old = "libvirt 5.0.0 is too old: changing snapshot trees needs 5.1.0 or newer\n\
               hint: install a newer libvirt; `snaptree doctor` shows what it supports";
    let web = Web::new()
        .with("version", json!("5.0.0"))
        .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
        .file("vm/sn.json");
    let document = json!({ "name": "x", "snapshot": { "disks": { "vda": "internal" } } });
    std::fs::write(web.test.path().join("vm/sn.json"), document.to_string()).expect("cannot write a file");
    web.refuses("revert web/clean --yes", old)
        .refuses("revert web/clean", old)
        .refuses("delete web/clean --yes", old)
        .refuses("edit web/clean --comment new", old)
        .refuses("snapshot web --xml vm/sn.json --redefine", old)
        .refuses_statement("web:find 'clean':delete()", old)
        .does("snapshot web sn01");
}

#[test]
fn a_description_needs_its_parent_and_a_domain_that_stays() {
    let describe = |web: &Web, name: &str, snapshot| {
        let text = json!({ "name": name, "snapshot": snapshot }).to_string();
        std::fs::write(web.test.path().join("vm/sn.json"), text).expect("cannot write a file");
    };
    let web = Web::new();
    describe(&web, "x", json!({ "parent": "nosuch", "disks": { "vda": "internal" } }));
    let web = web.refuses(
        "snapshot web --xml vm/sn.json --redefine",
        "there is no snapshot `nosuch` in `web`: `x` would be below it\n\
         hint: add that one first, or remove `<parent>` to make a root",
    );
    describe(&web, "a/b", json!({}));
    let web = web.refuses_with(
        2,
        "snapshot web --xml vm/sn.json --redefine",
        "\"a/b\" cannot name a snapshot: it contains `/`, which separates a machine from a snapshot\n\
         hint: letters of any script, digits, spaces, quotes and most signs are fine",
    );
    web.refuses("snapshot web --xml vm/gone.json", "cannot read `vm/gone.json`: No such file or directory");
}
