//! Names that libvirt accepts: each can be used, or is refused for something new.

use serde_json::{Value, json};

use crate::support::web::Web;
use crate::support::{DISK, Test};

/// Names that are unlikely, but that a user may have chosen.
fn names() -> Vec<String> {
    let odd = ["-pre", "--force", "after ", " ", "a b & <c> 'd' \"e\"", "日本 ünï", "2", "tab\there", "x:y,z=%"];
    odd.iter().map(|name| name.to_string()).chain(["x".repeat(210), "語".repeat(82)]).collect()
}

/// `web` under another name, with a file for a snapshot's overlay.
fn domain(name: &str) -> Web {
    let web = Web::new();
    let domain = json!({ "document": { "disks": { "vda": "[DIR]/vm/web.qcow2" } } });
    web.with("domains", json!({ name: domain }))
}

fn run(web: &Web, args: &[&str]) -> Test {
    web.test.again().args(args.iter().copied())
}

fn does(web: &Web, args: &[&str]) -> String {
    run(web, args).any_stdout().any_stderr().run().stdout
}

#[test]
fn every_command_takes_any_name_of_a_snapshot() {
    for name in names() {
        let held = json!({ "document": { "disks": { "vda": "[DIR]/vm/web.qcow2" } }, "disks": { "vda": { "overlay": "[DIR]/vm/o" } } });
        let web = Web::new().file("vm/o");
        let web = web.document("disks/vda", json!("[DIR]/vm/o")).snapshot(&name, held);
        let path = format!("web/{name}");
        assert_eq!(does(&web, &["list", "--name", "web"]), format!("{name}\n"));
        let json: Value = serde_json::from_str(&does(&web, &["list", "--json", "web"])).expect("JSON");
        assert_eq!(json[0]["name"], name.as_str());
        does(&web, &["info", &path]);
        does(&web, &["edit", "--comment", "-x", &path]);
        does(&web, &["revert", "--yes", &path]);
        assert_eq!(does(&web, &["current", "web"]), format!("{name}\n"));
        does(&web, &["snapshot", "web", "ours"]);
        assert_eq!(does(&web, &["list", "--name", "web", "--from", &name]), "ours\n");
        web.script(&format!("print(web:find({name:?}).name, #web:snapshots {{ from = {name:?} }})"))
            .stdout(&format!("{name}\t1\n"))
            .run();
        does(&web, &["delete", "--yes", &path]);
        assert_eq!(does(&web, &["list", "--name", "web"]), "ours\n");
        does(&web, &["undo", "web"]);
        assert_eq!(does(&web, &["list", "--name", "web", "--roots"]), format!("{name}\n"));
    }
}

#[test]
fn every_command_takes_any_name_of_a_machine() {
    for name in names().into_iter().chain([".hidden".to_string(), "web-0123456789ab-1".to_string()]) {
        let web = domain(&name);
        assert_eq!(does(&web, &["list", "--name"]), format!("{name}\n"));
        does(&web, &["snapshot", "--", &name, "sn01"]);
        let path = format!("{name}/sn01");
        does(&web, &["info", "--", &name]);
        does(&web, &["tree", "--", &name]);
        does(&web, &["revert", "--yes", "--", &path]);
        does(&web, &["undo", "--", &name]);
        does(&web, &["gc", "--yes", "--", &name]);
        let open = format!("print(machine.open({name:?}):current().name)");
        web.test.again().args(["eval", &open]).stdout("sn01\n").run();
        assert!(does(&web, &["tree"]).contains("sn01"), "{name:?}");
        does(&web, &["delete", "--yes", "--", &path]);
    }
}

#[test]
fn a_new_snapshot_may_have_any_name_that_libvirt_takes() {
    for name in ["-pre", "after ", "2", &"x".repeat(247)] {
        let web = Web::new();
        run(&web, &["snapshot", "web", "--", name]).stderr(&format!("Took snapshot `{name}` of `web`.\n")).run();
        assert_eq!(does(&web, &["current", "web"]), format!("{name}\n"));
    }
}

#[test]
fn a_name_that_libvirt_does_not_take_is_refused_when_it_is_made() {
    let refused = |name: &str, why: &str| {
        let hint = "hint: letters of any script, digits, spaces, quotes and most signs are fine";
        let said =
            format!("error: invalid value '{name}' for '[NAME]': {name:?} cannot name a snapshot: {why}\n{hint}");
        let ran = run(&Web::new(), &["snapshot", "web", "--", name]).status(2).any_stderr().run();
        assert!(ran.stderr.starts_with(&said), "{}", ran.stderr);
        let web = Web::new();
        web.refuses_statement(
            &format!("web:snapshot({name:?})"),
            &format!("{name:?} cannot name a snapshot: {why}\n{hint}"),
        );
    };
    refused(".x", "it starts with `.`");
    refused("a/b", "it contains `/`, which separates a machine from a snapshot");
    refused(" ", "it has no visible character");
    refused(&"x".repeat(248), "it is 248 bytes long, and 247 is the limit");
}

#[test]
fn a_hint_writes_names_as_a_shell_reads_them() {
    let web = domain("-it's");
    run(&web, &["undo", "--", "-it's"])
        .status(1)
        .stderr("error: there is nothing to undo in `-it's`\nhint: reverts and deletions of snapshots can be undone\n")
        .run();
    run(&web, &["undo", "--", "-it's", "7"])
        .status(1)
        .stderr(
            "error: there is no change 7 to undo in `-it's`\n\
             hint: `snaptree undo --list -- '-it'\\''s'` lists the changes\n",
        )
        .run();
    run(&web, &["delete", "--yes", "--", "-it's"])
        .status(1)
        .stderr(
            "error: snaptree did not create the domain `-it's`, and will not delete it\n\
             hint: `snaptree delete -- '-it'\\''s/SNAPSHOT'` deletes a snapshot of it, \
             `virsh undefine -- '-it'\\''s'` the domain\n",
        )
        .run();
}

#[test]
fn exec_takes_a_machine_whose_name_begins_with_a_dash() {
    let lab = Test::new().script("machine('-lab', { image = image.file 'x' }):root 'base'").file("x", DISK);
    let lab = lab.args(["run", "script.lua"]).any_stdout().any_stderr().run();
    lab.again().args(["exec", "--", "-lab/base", "--", "true"]).any_stderr().run();
    lab.again()
        .args(["exec", "--", "-lab/base"])
        .status(2)
        .stderr(
            "error: there is no command for `-lab/base`\n\
             hint: write it behind `--`: snaptree exec MACHINE/SNAPSHOT -- CMD...\n",
        )
        .run();
}

#[test]
fn a_path_that_libvirt_cannot_carry_is_refused_before_anything_is_done() {
    let web = Web::new();
    web.refuses(
        "snapshot web sn01 --diskspec vda,file=vm/a\tb",
        "libvirt cannot take the path \"[DIR]/vm/a\\tb\": it contains the control character '\\t'\n\
         hint: rename it, or make a symbolic link to it with a plain name, and use that",
    )
    .refuses_statement(
        "web:snapshot('sn01', { disks = { vda = '[DIR]/vm/\\xff' } })",
        "libvirt cannot take the path \"[DIR]/vm/\\xFF\": it is not UTF-8\n\
         hint: rename it, or make a symbolic link to it with a plain name, and use that",
    );
}
