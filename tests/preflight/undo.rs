//! What cannot be undone.

use serde_json::json;

use crate::support::web::Web;

#[test]
fn without_a_change_there_is_nothing_to_undo() {
    let nothing = "there is nothing to undo in `web`\nhint: reverts and deletions of snapshots can be undone";
    let number = "there is no change 3 to undo in `web`\nhint: `snaptree undo --list web` lists the changes";
    let web = Web::new()
        .refuses("undo web", nothing)
        .refuses("undo web 3", number)
        .refuses_statement("web:undo()", nothing)
        .refuses_statement("web:undo(3)", number);
    web.run("undo web --list").stdout("nothing to undo\n").run();
    web.run("undo web --list --json").stdout("[]\n").run();
}

#[test]
fn a_deleted_snapshot_does_not_come_back_over_another_one() {
    let web = Web::new();
    web.does("snapshot web sn01");
    web.does("delete web/sn01 --yes");
    web.does("snapshot web sn01");
    let error = "cannot put back `sn01`: there is another snapshot of that name in `web` now\n\
                 hint: delete that one first";
    web.refuses("undo web", error).refuses("undo web 1", error).refuses_statement("web:undo()", error);
}

#[test]
fn a_deleted_snapshot_whose_files_were_removed_does_not_come_back() {
    let web = Web::new().file("vm/web.base").snapshot(
        "clean",
        json!({
            "disks": { "vda": { "overlay": "[DIR]/vm/web.qcow2" } },
            "document": { "disks": { "vda": "[DIR]/vm/web.base" } },
        }),
    );
    web.does("delete web/clean --yes");
    std::fs::remove_file(web.test.path().join("vm/web.base")).expect("cannot remove a file");
    web.refuses("undo web", "cannot put back what was deleted: its layer `[DIR]/vm/web.base` is missing\nhint: `snaptree gc web` deletes the undo history");
}

#[test]
fn what_was_removed_cannot_be_reverted_to() {
    let web = Web::running();
    web.does("snapshot web sn01 --disk-only");
    web.does("revert web/sn01 --yes");
    std::fs::remove_file(web.test.path().join("vm/web.sn01")).expect("cannot remove a file");
    web.refuses("undo web", "cannot undo `revert to sn01`: `[DIR]/vm/web.sn01`, which it needs, is missing\nhint: `snaptree gc web` deletes the undo history");
}

#[test]
fn a_managed_save_has_to_be_used_before_an_undo() {
    let web = Web::new();
    web.does("snapshot web sn01");
    web.does("revert web/sn01 --yes");
    let web = web.again_with("domains/web/managed_save", json!(true));
    web.refuses(
        "undo web",
        "the RAM of `web` was saved to disk by a managed save: its disks must not change until it is started again\n\
         hint: `virsh start web` resumes it, `virsh managedsave-remove web` discards its RAM",
    );
}

#[test]
fn a_guest_inside_a_file_that_others_depend_on_now_is_not_reverted_to() {
    let web = Web::running();
    web.does("snapshot web live --internal");
    web.does("revert web/live --yes");
    web.does("snapshot web above --disk-only");
    web.refuses(
        "undo web",
        "cannot undo `revert to live`: snapshot `above` depends on `[DIR]/vm/web.qcow2` now, which must not change\n\
         hint: delete what depends on it first",
    );
}

#[test]
fn a_disk_that_became_a_layer_meanwhile_is_not_written_to_again() {
    let web = Web::new().document("disks/vdb", json!("[DIR]/vm/data.qcow2")).file("vm/data.qcow2");
    web.does("snapshot web sn01 --diskspec vdb,snapshot=no");
    web.does("revert web/sn01 --yes");
    web.does("snapshot web sn02");
    web.refuses(
        "undo web",
        "cannot undo `revert to sn01`: snapshot `sn02` depends on `[DIR]/vm/data.qcow2` now, which must not change\n\
         hint: delete what depends on it first",
    );
}

#[test]
fn a_machine_that_became_transient_would_not_outlive_the_undo() {
    let web = Web::running();
    web.does("snapshot web sn01");
    web.does("revert web/sn01 --yes");
    web.again_with("domains/web/persistent", json!(false)).refuses(
        "undo web",
        "cannot undo `revert to sn01`: `web` is transient, and gone once it is stopped\n\
         hint: `virsh define` makes it persistent: virsh dumpxml web > x.xml; virsh define x.xml",
    );
}

#[test]
fn an_old_libvirt_takes_nothing_back() {
    let old = "libvirt 5.0.0 is too old: changing snapshot trees needs 5.1.0 or newer\n\
               hint: install a newer libvirt; `snaptree doctor` shows what it supports";
    let web = Web::new();
    web.does("snapshot web sn01");
    web.does("revert web/sn01 --yes");
    web.does("delete web/sn01 --yes");
    web.again_with("version", json!("5.0.0")).refuses("undo web 1", old).refuses("undo web 2", old);
}
