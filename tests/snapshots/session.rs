//! A session as a virsh user would have it.

use serde_json::json;

use crate::support::web::{Web, undated};

/// `web` with `sn01`, `sn02` below it, and `mariadb` and `postgresql` below that, which is the current one.
pub fn grown() -> Web {
    let web = Web::running();
    let says = |args: &str, said: &str| {
        web.run(args).stderr(&format!("{said}\n")).run();
    };
    web.run("snapshot web sn01 --disk-only --atomic --comment")
        .args(["before the upgrade"])
        .stderr("Took snapshot `sn01` of `web`.\n")
        .run();
    says("snapshot web sn02", "Took snapshot `sn02` of `web`.");
    says("snapshot web mariadb --disk-only", "Took snapshot `mariadb` of `web`.");
    says("revert web/sn02 --yes", "Reverted `web` to `sn02`.");
    says("snapshot web postgresql --disk-only", "Took snapshot `postgresql` of `web`.");
    web
}

fn tree(web: &Web, args: &str, drawn: &str) {
    web.run(args).stdout(drawn).run();
}

const WHOLE: &str = "sn01\n  |\n  +- sn02\n      |\n      +- mariadb\n      +- postgresql (current)\n";

#[test]
fn a_tree_is_grown_gone_back_in_and_pruned_and_all_of_it_is_taken_back() {
    let web = grown();
    tree(&web, "list web --tree", WHOLE);
    tree(&web, "tree web", WHOLE);
    tree(&web, "list web --tree --current", "postgresql (current)\n");
    web.run("revert web/sn02 --yes").stderr("Reverted `web` to `sn02`.\n").run();
    tree(&web, "list web --tree --current", "sn02 (current)\n  |\n  +- mariadb\n  +- postgresql\n");
    web.run("delete web/postgresql --yes").stderr("Deleted snapshot `postgresql` of `web`.\n").run();
    web.run("delete web/mariadb --metadata --yes").stderr("Deleted snapshot `mariadb` of `web`.\n").run();
    tree(&web, "list web --tree", "sn01\n  |\n  +- sn02 (current)\n");
    assert_eq!(
        undated(&web.does("undo web --list").stdout),
        "\
NUMBER  TIME                       WHAT WAS DONE      UNDO WOULD
     1  [WHEN]  revert to sn02     go back to the state after `mariadb`, with its RAM
     2  [WHEN]  revert to sn02     go back to the state after `postgresql`, with its RAM
     3  [WHEN]  delete postgresql  put back `postgresql`
     4  [WHEN]  delete mariadb     put back `mariadb`
"
    );

    web.run("undo web").stderr("Undid `delete mariadb` in `web`.\n").run();
    tree(&web, "list web --tree", "sn01\n  |\n  +- sn02 (current)\n      |\n      +- mariadb\n");
    web.run("undo web").stderr("Undid `undo: delete mariadb` in `web`.\n").run();
    tree(&web, "list web --tree", "sn01\n  |\n  +- sn02 (current)\n");
    web.run("undo web 3").stderr("Undid `delete postgresql` in `web`.\n").run();
    web.run("undo web 2").stderr("Undid `revert to sn02` in `web`.\n").run();
    web.run("undo web 6").stderr("Undid `delete mariadb` in `web`.\n").run();
    tree(&web, "list web --tree", WHOLE);
    assert_eq!(
        undated(&web.does("undo web --list").stdout),
        "\
NUMBER  TIME                       WHAT WAS DONE            UNDO WOULD
     1  [WHEN]  revert to sn02           go back to the state after `mariadb`, with its RAM
     7  [WHEN]  undo: delete postgresql  delete `postgresql`
     8  [WHEN]  undo: revert to sn02     go back to the state after `sn02`, with its RAM
     9  [WHEN]  undo: delete mariadb     delete `mariadb`
"
    );
    let json: serde_json::Value = serde_json::from_str(&web.does("undo web --list --json").stdout).expect("JSON");
    let mut last = json[3].clone();
    assert!(last["created"].take().as_u64().is_some_and(|created| created > 1_600_000_000));
    let expected = json!({
        "number": 9, "created": null, "what": "undo: delete mariadb", "effect": "delete `mariadb`",
    });
    assert_eq!(last, expected);
}

#[test]
fn deleting_several_names_them_and_undo_brings_all_of_them_back() {
    let web = grown();
    web.run("delete web/sn02 --children --yes")
        .stderr("Deleted 3 snapshots of `web`: `sn02`, `mariadb`, `postgresql`.\n")
        .run();
    tree(&web, "list web --tree", "sn01 (current)\n");
    web.run("undo web").stderr("Undid `delete sn02, mariadb, postgresql` in `web`.\n").run();
    tree(&web, "list web --tree", WHOLE);
    web.run("delete web/sn02 --children-only --yes")
        .stderr("Deleted 2 snapshots of `web`: `mariadb`, `postgresql`.\n")
        .run();
    tree(&web, "list web --tree", "sn01\n  |\n  +- sn02 (current)\n");
    web.does("undo web");
    web.run("delete web/sn02 --yes").stderr("Deleted snapshot `sn02` of `web`.\n").run();
    tree(&web, "list web --tree", "sn01\n  |\n  +- mariadb\n  +- postgresql (current)\n");
    web.does("undo web");
    tree(&web, "list web --tree", WHOLE);
    web.run("delete web --current --yes").stderr("Deleted snapshot `postgresql` of `web`.\n").run();
    web.does("undo web");
    tree(&web, "list web --tree", WHOLE);
}

#[test]
fn a_state_whose_snapshot_is_deleted_belongs_to_the_one_above_until_it_is_back() {
    let web = grown();
    web.does("revert web/sn01 --yes");
    web.does("delete web/postgresql --yes");
    web.does("undo web 2");
    tree(&web, "list web --tree", "sn01\n  |\n  +- sn02 (current)\n      |\n      +- mariadb\n");
    web.does("undo web 3");
    tree(&web, "list web --tree", WHOLE);
}
