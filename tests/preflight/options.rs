//! Options that contradict each other, or the machine's state.

use crate::support::web::Web;

const BOTH_RAMS: &str = "these options ask for a snapshot both with and without RAM\n\
    hint: --disk-only and --no-memory leave the RAM out, --memory and --memspec take it";

#[test]
fn ram_is_asked_for_or_left_out() {
    Web::running()
        .refuses_with(2, "snapshot web sn01 --disk-only --memory", BOTH_RAMS)
        .refuses_with(2, "snapshot web sn01 --no-memory --memory", BOTH_RAMS)
        .refuses_with(2, "snapshot web sn01 --disk-only --memspec [DIR]/ram", BOTH_RAMS)
        .refuses_with(2, "snapshot web sn01 --no-memory --memspec [DIR]/ram", BOTH_RAMS)
        .refuses_with(
            2,
            "snapshot web sn01 --internal --memspec [DIR]/ram",
            "a snapshot is either internal or external, and these options ask for both\n\
             hint: --internal puts it inside the disks' qcow2 files, --external beside them",
        )
        .refuses_statement(
            "web:snapshot('sn01', { kind = 'internal', memory = '[DIR]/ram' })",
            "an internal snapshot has the RAM inside the disk, not in a file\n\
             hint: leave the file out, or take an external snapshot",
        )
        .refuses_statement(
            "web:snapshot('sn01', { disk_only = true, memory = true })",
            "machine:snapshot: `disk_only` and `memory` exclude each other\nhint: leave one of them out",
        );
}

#[test]
fn an_internal_snapshot_of_the_disks_of_a_running_guest_does_not_exist() {
    let error = "an internal snapshot of the disks only does not exist while the guest runs\n\
                 hint: shut the guest down, or take an external snapshot";
    Web::running()
        .refuses_with(2, "snapshot web sn01 --internal --disk-only", error)
        .refuses_with(2, "snapshot web sn01 --internal --no-memory", error)
        .refuses_statement("web:snapshot('sn01', { kind = 'internal', memory = false })", error);
}

#[test]
fn quiesce_is_for_the_disks_of_a_running_guest() {
    let error = "only a snapshot of the disks of a running guest can be quiesced\n\
                 hint: ask for the disks only too: `--disk-only`, in Lua `disk_only = true`";
    Web::running()
        .refuses_with(2, "snapshot web sn01 --quiesce", error)
        .refuses_with(2, "snapshot web sn01 --quiesce --memory", error)
        .refuses_statement("web:snapshot('sn01', { quiesce = true })", error)
        .does("snapshot web sn01 --quiesce --disk-only");
    Web::new().refuses_with(2, "snapshot web sn01 --quiesce --disk-only", error);
}

#[test]
fn live_is_for_the_ram_of_a_running_guest() {
    let error = "live is for an external snapshot with the RAM of a running guest\n\
                 hint: leave it out: any other snapshot stops the guest for a moment only";
    Web::running()
        .refuses_with(2, "snapshot web sn01 --live --disk-only", error)
        .refuses_with(2, "snapshot web sn01 --live --no-memory", error)
        .refuses_with(2, "snapshot web sn01 --live --internal", error)
        .does("snapshot web sn01 --live");
    Web::new()
        .refuses_with(2, "snapshot web sn01 --live", error)
        .refuses_statement("web:snapshot('sn01', { live = true })", error);
}

#[test]
fn overlays_are_reused_by_name_and_by_external_snapshots() {
    Web::new().refuses_with(
        2,
        "snapshot web sn01 --internal --reuse-external",
        "an internal snapshot has no overlays to reuse\nhint: take an external snapshot",
    );
    let error = "disk `vdb` of `web` has no overlay to reuse\n\
                 hint: name its file: `--diskspec vdb,file=PATH`, in Lua `disks = { vdb = \"PATH\" }`; or leave the \
                 disk out";
    Web::new()
        .document("disks/vdb", serde_json::json!("[DIR]/vm/data.qcow2"))
        .file("vm/next")
        .with("layers", serde_json::json!({ "[DIR]/vm/next": { "backing": "[DIR]/vm/web.qcow2" } }))
        .refuses("snapshot web sn01 --reuse-external --diskspec vda,file=[DIR]/vm/next", error)
        .refuses_statement("web:snapshot('sn01', { reuse_external = true, disks = { vda = '[DIR]/vm/next' } })", error);
}
