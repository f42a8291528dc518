//! Internal snapshots, and what others have on their files.

use crate::support::web::Web;

/// Runs a script that writes and reads the guest's file `/it`.
fn script(web: &Web, script: &str) -> String {
    let helpers = "
        local function write(text)
          if web:state() == 'shutoff' then web:start() end
          web:guest():write('/it', text)
          web:destroy()
        end
        local function show()
          web:start()
          print(web:current().name, web:guest():read '/it')
          web:destroy()
        end
    ";
    web.script(&format!("{helpers}\n{script}")).any_stdout().any_stderr().run().stdout
}

#[test]
fn an_undo_leaves_a_layer_alone_that_a_snapshot_has_meanwhile() {
    let web = Web::new();
    let printed = script(
        &web,
        "
        write 'one'
        web:snapshot('clean', { kind = 'internal' })
        write 'two'
        web:find 'clean':revert()
        write 'three'
        web:snapshot 'above'
        write 'four'
        web:undo()
        show()
        web:find 'above':revert()
        show()
        web:find 'clean':revert()
        show()
        web:undo(2)
        show()
        ",
    );
    assert_eq!(printed, "clean\ttwo\nabove\tthree\nclean\tone\nabove\tfour\n");
}

#[test]
fn a_guest_whose_ram_cannot_be_kept_goes_back_all_the_same() {
    let web = Web::new();
    web.does("snapshot web clean --internal");
    let web = web.again_with("domains/web/state", serde_json::json!("running"));
    let web = web.again_with("domains/web/document/filesystems", serde_json::json!(["9p"]));
    web.run("revert web/clean --yes")
        .stderr(
            "
            the RAM of `web` cannot be kept: the guest mounts a host directory (9p).
            Reverted `web` to `clean`.
            ",
        )
        .run();
    web.run("undo web").stderr("Undid `revert to clean` in `web`.\n").run();
    web.run("list web --name").stdout("clean\n").run();
}
