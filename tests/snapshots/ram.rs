//! The guest's RAM: what is below `/run` in a fake guest.

use crate::support::Ran;
use crate::support::web::Web;

/// Runs a script that knows what the guest has in its RAM and on its disk.
fn script(web: &Web, script: &str) -> Ran {
    let helpers = "
        local function write(text)
          local guest = web:guest()
          guest:write('/run/it', text)
          guest:write('/it', text)
        end
        local function show()
          print(web:current().name, web:state(), web:guest():run('cat /run/it', { check = false }).stdout,
                web:guest():read '/it')
        end
    ";
    web.script(&format!("{helpers}\n{script}")).any_stdout().any_stderr().run()
}

/// Takes a snapshot with these options, reverts to it and undoes that twice: RAM and disk change together each time.
fn assert_ram_comes_back(options: &str) {
    let lines = format!(
        "
        write 'one'
        web:snapshot('live', {options})
        write 'two'
        web:find 'live':revert()
        show()
        write 'three'
        web:undo()
        show()
        web:undo()
        show()
        "
    );
    let ran = script(&Web::running(), &lines);
    assert_eq!(ran.stdout, "live\trunning\tone\tone\nlive\trunning\ttwo\ttwo\nlive\trunning\tthree\tthree\n");
    assert_eq!(ran.started(), Vec::<String>::new(), "no guest was booted");
}

#[test]
fn ram_comes_back_with_its_snapshot_and_with_undo() {
    assert_ram_comes_back("{}");
}

#[test]
fn ram_inside_the_disk_comes_back_too() {
    assert_ram_comes_back("{ kind = 'internal' }");
}

#[test]
fn a_snapshot_without_ram_leaves_the_guest_off_unless_it_is_asked_for() {
    let web = Web::running();
    let ran = script(
        &web,
        "
        write 'one'
        web:snapshot('disks', { disk_only = true })
        write 'two'
        local disks = web:find 'disks'
        disks:revert()
        print(web:state())
        disks:revert { running = true }
        show()
        disks:revert { paused = true }
        print(web:state())
        web:undo()
        show()
        web:undo(1)
        show()
        ",
    );
    assert_eq!(ran.stdout, "shutoff\ndisks\trunning\t\tone\npaused\ndisks\trunning\t\tone\ndisks\trunning\ttwo\ttwo\n");
}

#[test]
fn a_paused_guest_stays_paused() {
    let web = Web::running();
    let ran = script(
        &web,
        "
        web:suspend()
        web:snapshot 'live'
        print(web:find 'live'.state, web:state())
        web:resume()
        web:find 'live':revert()
        print(web:state())
        web:find 'live':revert { running = true }
        print(web:state())
        web:undo()
        print(web:state())
        web:undo(1)
        print(web:state())
        ",
    );
    assert_eq!(ran.stdout, "paused\tpaused\npaused\nrunning\npaused\nrunning\n");
}

#[test]
fn halting_leaves_the_machine_off_with_its_ram_in_the_snapshot() {
    let web = Web::running();
    web.does("snapshot web sn01 --halt");
    let ran = script(&web, "print(web:state())\nweb:find 'sn01':revert()\nprint(web:state())");
    assert_eq!(ran.stdout, "shutoff\nrunning\n");
}

#[test]
fn ram_that_cannot_be_kept_is_announced() {
    let web = Web::running().document("filesystems", serde_json::json!(["virtiofs"]));
    web.does("snapshot web sn01 --disk-only");
    web.run("revert web/sn01 --yes")
        .stderr(
            "
            the RAM of `web` cannot be kept: the guest mounts a host directory (virtiofs).
            Reverted `web` to `sn01`.
            ",
        )
        .run();
    web.run("undo web").stderr("Undid `revert to sn01` in `web`.\n").run();
    assert_eq!(script(&web, "print(web:state())").stdout, "running\n", "it was booted");
}
