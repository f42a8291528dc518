//! What no branch can grow from.

use serde_json::json;

use crate::support::web::Web;

const BRANCH: &str = "web:find 'sn01':branch('new', function() end)";

#[test]
fn a_snapshot_that_does_not_hold_everything_is_not_cloned() {
    let refuses = |snapshot, why: &str| {
        let error = format!("`web/sn01` cannot be cloned: {why}");
        Web::new()
            .snapshot("sn01", snapshot)
            .refuses_statement(BRANCH, &error)
            .refuses("exec web/sn01 -- true", &error);
    };
    refuses(
        json!({
            "disks": { "vda": "internal" },
            "document": { "disks": { "vda": "[DIR]/vm/web.qcow2", "vdb": "[DIR]/vm/data.qcow2" } },
        }),
        "it left out disk `vdb`, so its content is unknown\n\
         hint: take a snapshot with every disk, and clone that",
    );
    refuses(
        json!({ "disks": { "vda": "external" }, "document": { "disks": { "vda": { "block": "/dev/x" } } } }),
        "disk `vda` was not a file\nhint: a clone needs disks that are files",
    );
    refuses(
        json!({ "disks": { "vda": "external" }, "document": { "disks": { "vda": "[DIR]/vm/gone" } } }),
        "its layer `[DIR]/vm/gone` is missing\nhint: put the file back, or clone another snapshot",
    );
}

#[test]
fn a_domain_with_something_that_only_one_can_have_is_not_cloned() {
    let error = |what: &str| {
        format!(
            "`{what}` cannot be cloned: it has a device of the host\n\
             hint: only one domain can have that: take it out with `virsh edit web`, then take another snapshot"
        )
    };
    for kind in ["internal", "external"] {
        let document = json!({ "disks": { "vda": "[DIR]/vm/web.qcow2" }, "host_devices": true });
        Web::new()
            .snapshot("sn01", json!({ "disks": { "vda": kind }, "document": document }))
            .refuses_statement(BRANCH, &error("web/sn01"))
            .refuses_statement("web:find 'sn01':fork()", &error("web/sn01"))
            .refuses("exec web/sn01 -- true", &error("web/sn01"))
            .refuses("fork web/sn01", &error("web/sn01"));
    }
    let web = Web::new().document("host_devices", json!(true));
    let hint = error("web").replace(", then take another snapshot", "");
    web.refuses_statement("web:root 'here'", &hint).refuses_statement("web:branch('new', function() end)", &hint);
}

#[test]
fn what_a_running_guest_has_on_its_disks_is_no_root() {
    let error = "`web` is running, and its disks change\n\
                 hint: shut it down, or take a snapshot of it and branch from that";
    Web::running()
        .refuses_statement("web:branch('new', function() end)", error)
        .refuses_statement("web:root 'here'", error);
}

#[test]
fn a_root_does_not_take_the_place_of_another_snapshot() {
    Web::new().snapshot("clean", json!({ "disks": { "vda": "internal" } })).refuses_statement(
        "web:root 'clean'",
        "a snapshot `clean` exists already in `web`, and no script made it\n\
         hint: give yours another name; nothing was changed",
    );
    let web = Web::new();
    web.script("web:branch('new', function() end)").any_stderr().run();
    web.refuses_statement(
        "web:root 'new'",
        "`web/new` is not the root of an opened machine\nhint: give the root another name",
    );
}

#[test]
fn a_branch_does_not_take_the_place_of_a_foreign_snapshot() {
    Web::new()
        .snapshot("sn01", json!({ "disks": { "vda": "internal" } }))
        .with("domains/web/snapshots/new", json!({ "parent": "sn01", "disks": { "vda": "internal" } }))
        .refuses_statement(
            BRANCH,
            "a snapshot `new` exists already in `web`, and no script made it\n\
             hint: give yours another name; nothing was changed",
        );
}

#[test]
fn a_disk_that_is_gone_is_no_root() {
    let web = Web::new();
    std::fs::remove_file(web.test.path().join("vm/web.qcow2")).expect("cannot remove a file");
    web.refuses_statement("web:root 'here'", "cannot look at disk `vda` of `web`: No such file or directory");
}
