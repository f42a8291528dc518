//! Snapshots that a machine cannot revert to, and deletions of what is not there.

use serde_json::{Value, json};

use crate::support::web::Web;

/// An external snapshot of a machine that continues in `web.qcow2`.
fn external(layer: &str) -> Value {
    json!({
        "disks": { "vda": { "overlay": "[DIR]/vm/web.qcow2" } },
        "document": { "disks": { "vda": layer } },
    })
}

#[test]
fn nothing_is_lost_unasked() {
    let web = Web::new().file("vm/web.base").snapshot("clean", external("[DIR]/vm/web.base"));
    let yes = "hint: pass --yes to skip the confirmation";
    let web = web
        .refuses_with(
            2,
            "revert web/clean",
            &format!("this would put aside the state of `web`, and revert to `clean`\n{yes}"),
        )
        .refuses_with(2, "delete web/clean", &format!("this would delete snapshot `clean` of `web`\n{yes}"))
        .refuses_with(
            2,
            "delete web/clean --metadata",
            &format!("this would delete the metadata of snapshot `clean` of `web`\n{yes}"),
        );
    web.with("domains/web/state", json!("running"))
        .with("domains/web/current", json!("clean"))
        .with("domains/web/snapshots/child", json!({ "parent": "clean", "disks": { "vda": "internal" } }))
        .refuses_with(
            2,
            "revert web --current --running",
            &format!(
                "this would stop its guest and put aside the state of `web` since `clean`, and revert to `clean`\n\
                 {yes}"
            ),
        )
        .refuses_with(
            2,
            "delete web/clean --children",
            &format!("this would delete 2 snapshots, `clean`, `child`, of `web`\n{yes}"),
        )
        .refuses_with(
            2,
            "delete web/clean --children-only",
            &format!("this would delete snapshot `child` of `web`\n{yes}"),
        )
        .refuses_with(
            2,
            "delete web/clean --children --metadata",
            &format!("this would delete the metadata of 2 snapshots, `clean`, `child`, of `web`\n{yes}"),
        );
}

#[test]
fn a_transient_machine_would_not_outlive_the_revert() {
    let error = "`web` cannot go back to `clean`: `web` is transient, and gone once it is stopped\n\
                 hint: `virsh define` makes it persistent: virsh dumpxml web > x.xml; virsh define x.xml";
    Web::running()
        .with("domains/web/persistent", json!(false))
        .file("vm/web.base")
        .snapshot("clean", external("[DIR]/vm/web.base"))
        .refuses("revert web/clean --yes", error)
        .refuses("revert web/clean", error)
        .refuses_statement("web:find 'clean':revert()", error);
}

#[test]
fn a_snapshot_without_what_it_held_cannot_be_gone_back_to() {
    let refuses = |snapshot, why: &str| {
        let error = format!("`web` cannot go back to `sn01`: {why}");
        Web::new()
            .snapshot("sn01", snapshot)
            .refuses("revert web/sn01 --yes", &error)
            .refuses("revert web/sn01", &error)
            .refuses_statement("web:find 'sn01':revert()", &error);
    };
    let rest = "hint: `snaptree delete web/sn01` removes what is left of it";
    refuses(json!({}), "the snapshot holds no disk\nhint: `virsh snapshot-revert` can try it");
    refuses(
        json!({ "disks": { "vda": "external" }, "document": { "disks": { "vda": { "block": "/dev/x" } } } }),
        "disk `vda` was not a file then\nhint: `virsh snapshot-revert` can try it",
    );
    refuses(external("[DIR]/vm/gone"), &format!("its layer `[DIR]/vm/gone` is missing\n{rest}"));
    refuses(
        json!({
            "state": "running",
            "memory": { "external": "[DIR]/vm/gone.ram" },
            "disks": { "vda": { "overlay": "[DIR]/vm/web.next" } },
        }),
        &format!("the file with its RAM, `[DIR]/vm/gone.ram`, is missing\n{rest}"),
    );
    refuses(
        json!({
            "disks": { "vda": "internal" },
            "document": { "disks": { "vda": "[DIR]/vm/web.qcow2", "vdb": "[DIR]/vm/data.qcow2" } },
        }),
        "the snapshot left out disk `vdb`, which `web` does not have now\nhint: attach it again first",
    );
}

#[test]
fn the_overlay_of_a_revert_goes_where_a_file_can_be_made() {
    Web::new()
        .document("disks/vda", json!("/proc/disk.qcow2"))
        .file("vm/web.base")
        .snapshot("clean", external("[DIR]/vm/web.base"))
        .refuses(
            "revert web/clean --yes",
            "cannot make a file in `/proc`: No such file or directory\nhint: the disk's new overlay goes there",
        );
}

#[test]
fn ram_inside_a_file_that_others_depend_on_is_not_reverted_to() {
    let live = json!({ "state": "running", "memory": "internal", "disks": { "vda": "internal" } });
    let error = "`web` cannot go back to `live`: snapshot `newest` depends on the file that holds it, which libvirt \
                 would overwrite\n\
                 hint: a branch can grow from it: that copies its disks, without the RAM";
    let web = Web::new()
        .file("vm/web.base")
        .snapshot("live", live)
        .with("domains/web/snapshots/live/document", json!({ "disks": { "vda": "[DIR]/vm/web.base" } }))
        .with("domains/web/snapshots/newest", external("[DIR]/vm/web.base"))
        .with("layers", json!({ "[DIR]/vm/web.base": { "snapshots": { "live": { "ram": {} } } } }))
        .refuses("revert web/live --yes", error)
        .refuses("revert web/live", error)
        .refuses_statement("web:find 'live':revert()", error);
    let image = "`web` cannot go back to `live`: `[DIR]/vm/web.qcow2` depends on the file that holds it, which libvirt \
                 would overwrite\n\
                 hint: a branch can grow from it: that copies its disks, without the RAM";
    web.with("domains/web/snapshots/newest", Value::Null)
        .with(
            "layers",
            json!({
                "[DIR]/vm/web.base": { "snapshots": { "live": { "ram": {} } } },
                "[DIR]/vm/web.qcow2": { "backing": "[DIR]/vm/web.base" },
            }),
        )
        .refuses("revert web/live --yes", image);
}

#[test]
fn a_running_guest_is_not_given_up_where_its_ram_finds_no_room() {
    let web = Web::running()
        .document("memory", json!(1_u64 << 62))
        .file("vm/web.base")
        .snapshot("clean", external("[DIR]/vm/web.base"));
    let before = crate::support::web::contents(web.test.path());
    let ran = web.run("revert web/clean --yes").status(1).any_stderr().run();
    let said = "error: there is not enough space for the RAM of `web`: it may take 4.0 EiB, and `[DIR]/store/machines/";
    assert!(ran.stderr.starts_with(said), "{}", ran.stderr);
    assert!(ran.stderr.ends_with(" free\nhint: shut the guest down first\n"), "{}", ran.stderr);
    assert_eq!(before, crate::support::web::contents(web.test.path()));
}

#[test]
fn only_children_that_are_there_can_be_deleted() {
    let error = "snapshot `clean` of `web` has no children\n\
                 hint: leave `--children-only` out to delete the snapshot itself";
    Web::new()
        .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
        .refuses("delete web/clean --children-only --yes", error)
        .refuses("delete web/clean --children-only", error)
        .refuses_statement("web:find 'clean':delete { children_only = true }", error);
}
