//! Forks: what scripts and commands make of them, without a hypervisor.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use crate::support::{Ran, Test};

const HEAD: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    local base = vm:root "base"
    local child = base:branch("child", function(guest)
      guest:write("/etc/disk", "disk")
      guest:write("/run/ram", "ram")
    end)
"#;

fn run(more: &str) -> Test {
    Test::new().script(&format!("{HEAD}\n{more}")).args(["run", "script.lua"]).any_stderr()
}

fn built() -> Ran {
    run("").run()
}

#[test]
fn a_fork_is_a_resumed_guest_and_is_gone_when_it_is_closed() {
    let ran = run(r#"
        do
          local fork <close> = child:fork()
          print(fork, fork.parent, fork:read "/etc/disk", fork:read "/run/ram")
          fork:write("/etc/disk", "changed")
        end
        local fork = child:fork()
        print(fork:read "/etc/disk", fork:forward(80))
        print(fork:forward(80, { host = 8080, through = "channel" }), fork:forward_back(80), fork:forward_back(80, 81))
        fork:close()
        fork:close()
        print(pcall(fork.read, fork, "/etc/disk"))
    "#)
    .stdout(
        "
        fork of lab/child\tlab/child\tdisk\tram
        disk\t20080
        8080\t80\t81
        false\tscript.lua:19: this fork of lab/child is closed
        ",
    )
    .run();
    assert_eq!(ran.domains(), ["lab"]);
    assert_eq!(ran.started().len(), 3, "a builder and two forks");
}

#[test]
fn several_forks_are_a_list() {
    let ran = run(r#"
        local forks = child:forks(3)
        for n, fork in ipairs(forks) do fork:write("/run/ram", tostring(n)) end
        for _, fork in ipairs(forks) do print(fork:read "/run/ram") end
        print(#forks, forks[1].name ~= forks[2].name)
    "#)
    .stdout("1\n2\n3\n3\ttrue\n")
    .run();
    assert_eq!(ran.domains(), ["lab"], "what a script leaves open goes with it");
}

#[test]
fn wrong_arguments_are_named_before_anything_is_started() {
    for (call, error) in [
        (
            "child:forks()",
            "error: script.lua:8: snapshot:forks: how many?\nhint: snapshot:forks(8) makes a list of eight forks\n",
        ),
        ("child:forks(0)", "error: script.lua:8: snapshot:forks: the number must be a positive whole number, not 0\n"),
        (
            "child:fork { identity = 'other' }",
            "error: script.lua:8: snapshot:fork: `identity` cannot be \"other\"\nhint: \"new\" gives it a machine id, a host name and SSH host keys of its own\n",
        ),
        ("child:fork():forward(70000)", "error: script.lua:8: fork:forward: a port is a number from 1 to 65535\n"),
        (
            "child:fork():forward(80, { host = 0 })",
            "error: script.lua:8: fork:forward: `host` must be a whole number from 1 to 65535, not 0\n",
        ),
        (
            "child:fork():forward(80, { through = 'ssh' })",
            "error: script.lua:8: fork:forward: `through` must be \"channel\" or \"network\", not \"ssh\"\n",
        ),
        (
            "child:fork():forward_back(0)",
            "error: script.lua:8: fork:forward_back: the port must be a positive whole number, not 0\n",
        ),
        (
            "child:fork():forward_back(80, 70000)",
            "error: script.lua:8: fork:forward_back: a port is a number from 1 to 65535\n",
        ),
        ("child:fork():forwrd()", "error: script.lua:8: a fork has no `forwrd`\nhint: did you mean `forward`?\n"),
        (
            "base:fork { require_live = true }",
            "error: script.lua:8: the guest of `base` would have to boot: it has no RAM\nhint: do not require a live fork, and it boots from its disks\n",
        ),
    ] {
        let ran = run(call).status(1).run();
        assert!(ran.stderr.ends_with(error), "{call}: {}", ran.stderr);
        assert_eq!(ran.domains(), ["lab"], "{call}");
    }
}

#[test]
fn a_fork_worth_keeping_is_a_branch_with_its_journal() {
    let keep = r#"
        local fork <close> = child:fork()
        fork:run "migrate"
        local kept = fork:snapshot("after", { comment = "worth it" })
        print(kept, kept.comment, kept.live, kept.parent == child)
        fork:run "more"
        print(kept:fork():read "/run/ram")
    "#;
    let ran = run(keep).stdout("lab/after\tworth it\ttrue\ttrue\nram\n").run();
    assert_eq!(ran.domains(), ["lab"]);
    let log = ran.again().args(["log", "lab/after"]).any_stdout().run().stdout;
    assert!(log.contains("run \"migrate\"") && !log.contains("more"), "{log}");
    let branch = format!("{HEAD} child:branch('after', function(guest) guest:run 'migrate' end)");
    let ran = ran.again().script(&branch).args(["run", "script.lua"]).any_stderr().run();
    assert!(ran.stderr.contains("after: cached.\n"), "{}", ran.stderr);
    let again = ran.again().script(&format!("{HEAD}\n{keep}")).args(["run", "script.lua"]).status(1).any_stderr().run();
    assert!(
        again.stderr.ends_with(
            "error: script.lua:11: there is a snapshot `after` in `lab` already\nhint: delete it first, or choose another name\n"
        ),
        "{}",
        again.stderr
    );
}

#[test]
fn a_plan_leaves_forks_out_and_continues() {
    let script = format!(
        r#"{HEAD}
        local fork <close> = child:fork()
        fork:run "migrate"
        print(fork:forward(80), fork:forward(80, {{ host = 8080 }}), fork:forward_back(80, 81))
        fork:snapshot "after"
        child:branch("more", function(guest) guest:run "more" end)
        "#
    );
    Test::new()
        .script(&script)
        .args(["plan", "script.lua"])
        .status(2)
        .stderr("80\t8080\t81\n")
        .stdout(
            "
            base: missing
              |
              +- child: missing
                  |
                  +- more: missing
            not planned (fork of lab/child)
            ",
        )
        .run();
}

#[test]
fn forks_that_stay_are_stopped_by_name_or_with_all_of_the_machine() {
    let ran = built();
    let forks = ran.again().args(["fork", "lab/child", "-n", "2", "--forward", "3306"]).any_stdout().any_stderr().run();
    let names: Vec<&str> = forks.stdout.lines().map(|line| line.strip_suffix(" 127.0.0.1:23306").unwrap()).collect();
    assert_eq!(forks.domains(), [&["lab"], &names[..]].concat());
    let json = ran.again().args(["fork", "lab/child", "--json"]).any_stdout().any_stderr().run().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let third = json[0]["name"].as_str().unwrap();
    assert_eq!(json, serde_json::json!([{ "name": third, "forwards": [], "forwards_back": [], "memory": null }]));

    let in_use = ran.again().args(["delete", "lab", "--yes"]).status(1).any_stderr().run();
    assert!(in_use.stderr.starts_with("error: machine `lab` is in use: `lab.fork-"), "{}", in_use.stderr);
    ran.again().args(["exec", "lab/child", "--", "true"]).any_stderr().run();
    ran.again().args(["stop", names[0]]).stderr(&format!("Stopped {}.\n", names[0])).run();
    let stopped = ran.again().args(["stop", "lab"]).any_stderr().run();
    assert_eq!(stopped.stderr.lines().count(), 2, "{}", stopped.stderr);
    assert_eq!(stopped.domains(), ["lab"]);
    ran.again().args(["stop", "lab"]).stderr("There is no fork of `lab`.\n").run();
    ran.again()
        .args(["stop", "nothing"])
        .status(1)
        .stderr("error: there is no machine `nothing` on fake:state.json\nhint: `snaptree tree` lists what there is\n")
        .run();
}

#[test]
fn ports_go_through_the_channel_where_there_is_no_user_networking() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {}, network = "none" })
        local child = vm:root("base"):branch("child", function(guest) guest:run "true" end)
        local fork <close> = child:fork()
        print(fork:forward(80))
        print(pcall(fork.forward, fork, 80, { through = "network" }))
    "#;
    let ran = Test::new().script(script).args(["run", "script.lua"]).any_stderr().any_stdout().run();
    let (port, refused) =
        ran.stdout.split_once("\nfalse\tscript.lua:5: cannot forward a port to port 80 of `lab.fork-").unwrap();
    assert_eq!(port, "20080");
    let (_, why) = refused.split_once('`').unwrap();
    let hint = "hint: give the machine `network = \"user\"`, or leave `through` out";
    assert_eq!(why, format!(": the machine has no user networking\n{hint}\n"));

    let args = [
        "fork",
        "lab/child",
        "--json",
        "--forward",
        "80",
        "-f",
        "8081:81",
        "--forward-back",
        "90",
        "--forward-back",
        "9:91",
    ];
    let json = ran.again().args(args).any_stdout().any_stderr().run().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let forwards = serde_json::json!([
        { "guest": 80, "address": "127.0.0.1:20080" }, { "guest": 81, "address": "127.0.0.1:8081" }
    ]);
    let back = serde_json::json!([{ "host": 90, "address": "127.0.0.1:90" }, { "host": 9, "address": "127.0.0.1:91" }]);
    assert_eq!((&json[0]["forwards"], &json[0]["forwards_back"]), (&forwards, &back));
    for wrong in [["--forward", "0"], ["--forward", "1:0"], ["--forward-back", "x"], ["--forward-back", "0:1"]] {
        let ran = ran.again().args(["fork", "lab/child"]).args(wrong).status(2).any_stderr().run();
        assert!(ran.stderr.contains("it is a port from 1 to 65535, or two as in 8080:80"), "{}", ran.stderr);
    }
    // No process can attend a guest that is none.
    let refused = "error: cannot attend the channel of `lab`: a fake guest has none\n";
    ran.again().args(["attend", "lab"]).status(1).stderr(refused).run();
}

#[test]
fn forks_are_listed_and_each_runs_any_number_of_commands() {
    let ran = built();
    let forks = ran.again().args(["fork", "lab/child", "-n", "2"]).any_stdout().any_stderr().run().stdout;
    let names: Vec<&str> = forks.lines().collect();
    ran.again().args(["forks", "--name"]).stdout(&forks).run();
    ran.again().args(["forks", "lab", "--name"]).stdout(&forks).run();
    let table = ran.again().args(["forks"]).any_stdout().run().stdout;
    let head = "NAME  OF  AGE  MEMORY  FORWARDED  KEPT  STARTED BY";
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(words(table.lines().next().unwrap()), words(head));
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("{}  lab/child  ", names[0])), "{table}");
    let json = ran.again().args(["forks", "--json"]).any_stdout().run().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let keys = ["name", "machine", "of", "kept", "since", "by", "memory", "forwards", "forwards_back"];
    assert!(keys.iter().all(|key| json[0].get(key).is_some()), "{json}");

    // What one command leaves, the next one finds.
    ran.again().args(["exec", names[0], "--", "cat", "/run/ram"]).stdout("ram").run();
    ran.again().args(["exec", names[0], "--", "cat", "/run/ram"]).stdout("ram").run();
    for (target, error) in [
        (
            "nothing",
            "error: there is no machine `nothing` on fake:state.json\nhint: `snaptree tree` lists what there is\n",
        ),
        (
            "lab",
            "error: `lab` is not running\nhint: start it with `virsh start lab`, or name a snapshot, as in lab/SNAPSHOT\n",
        ),
    ] {
        ran.again().args(["exec", target, "--", "true"]).status(1).stderr(error).run();
    }
    ran.again()
        .args(["exec", "--failed", names[0], "--", "true"])
        .status(2)
        .stderr(&format!(
            "error: `{0}` names no snapshot\nhint: write {0}/SNAPSHOT; `snaptree info {0}` lists what failed\n",
            names[0]
        ))
        .run();

    ran.again().args(["stop", "--all", "--older-than", "1h"]).stderr("There is no fork that is older than 1h.\n").run();
    ran.again()
        .args(["stop", "lab", "--older-than", "90s"])
        .stderr("There is no fork of `lab` that is older than 1m 30s.\n")
        .run();
    let stopped: String = names.iter().map(|name| format!("Stopped {name}.\n")).collect();
    ran.again().args(["stop", "--all", "--older-than", "0s"]).stderr(&stopped).run();
    ran.again().args(["stop", "--all"]).stderr("There is no fork.\n").run();
    ran.again().args(["forks"]).stdout("no forks\n").run();
}

#[test]
fn all_forks_are_those_of_this_store() {
    let ran = built();
    let fork = ran.again().args(["fork", "lab/child"]).any_stdout().any_stderr().run().stdout;
    let fork = fork.trim();
    let elsewhere = || ran.again().env("SNAPTREE_STORE", ran.path().join("other"));
    elsewhere().args(["stop", "--all"]).stderr("There is no fork.\n").run();
    let still = elsewhere().args(["stop", "--all", "--older-than", "0s"]).any_stderr().run();
    assert_eq!(still.domains(), ["lab", fork]);
    ran.again().args(["stop", "--all"]).stderr(&format!("Stopped {fork}.\n")).run();
}

#[test]
fn a_fork_that_is_left_to_another_process_goes_with_its_files() {
    let ran = built();
    let forks = ran.again().args(["fork", "lab/child"]).any_stdout().any_stderr().run();
    let name = forks.stdout.trim();
    let [overlay, none] = ["overlay", "none"].map(|file| ran.path().join(file));
    std::fs::write(&overlay, "").unwrap();
    let files = [&overlay, &none].map(|file| file.to_str().unwrap());
    let args = [&["remove-fork", "--", "0123456789ab", name], &files[..]].concat();
    let removed = ran.again().args(args).run();
    assert_eq!(removed.domains(), ["lab"]);
    assert!(!overlay.exists());
}

#[test]
fn connections_of_a_resumed_guest_are_reset_unless_they_are_to_be_kept() {
    let ran = run(r#"
        child:fork():close()
        child:fork({ keep_connections = true }):close()
        base:fork():close()
        child:branch("more", function(guest) guest:run "more" end)
    "#)
    .run();
    let reset = |ran: &Ran| ran.state()["reset"].as_array().map_or(0, Vec::len);
    assert_eq!((ran.state()["resumed"].as_array().unwrap().len(), reset(&ran)), (3, 2));
    let kept = ran.again().args(["fork", "lab/child", "--keep-connections"]).any_stdout().any_stderr().run();
    assert_eq!(reset(&kept), 2);
    let ran = ran.again().args(["exec", "lab/child", "--", "true"]).any_stderr().run();
    assert_eq!(reset(&ran), 3);
}

#[test]
fn live_says_whether_a_branch_has_its_ram() {
    let script = |live: &str| {
        format!(
            "local base = machine('lab', {{ image = require 'images.tiny' {{}} }}):root 'base'
            local child = base:branch('child', function(guest) guest:write('/run/ram', 'x') end, {{ {live} }})
            print(child.live)"
        )
    };
    let plan = |because: &str| format!("base: cached\n  |\n  +- child: stale (because: {because})\n");
    let ran = Test::new().script(&script("")).args(["run", "script.lua"]).stdout("true\n").any_stderr().run();
    let of = |ran: &Ran, live: &str, command: &str| ran.again().script(&script(live)).args([command, "script.lua"]);
    of(&ran, "live = true", "plan").any_stderr().stdout("base: cached\n  |\n  +- child: cached\n").run();
    let disks = "it has its RAM, and `live = false` asks for its disks only";
    of(&ran, "live = false", "plan").status(2).any_stderr().stdout(&plan(disks)).run();
    let ran = of(&ran, "live = false", "run").stdout("false\n").any_stderr().run();
    // Without a choice, any existing one will do.
    of(&ran, "", "plan").any_stderr().stdout("base: cached\n  |\n  +- child: cached\n").run();
    let aside = "base: cached\n  |\n  +- child: cached (kept aside)\n";
    of(&ran, "live = true", "plan").any_stderr().stdout(aside).run();
    ran.again().args(["gc", "--yes"]).any_stderr().run();
    let ram = "it has no RAM, and `live = true` asks for it";
    of(&ran, "live = true", "plan").status(2).any_stderr().stdout(&plan(ram)).run();
    let no = of(&ran, "live = true", "run").env("SNAPTREE_LIVE", "no").status(1).any_stderr().any_stdout().run();
    assert!(
        no.stderr.contains(
            "`child` cannot have its RAM kept: SNAPTREE_LIVE is `no`\nhint: leave out `live = true` to keep only its disks"
        ),
        "{}",
        no.stderr
    );
    let wrong = of(&ran, "", "run").env("SNAPTREE_LIVE", "maybe").status(2).any_stderr().run();
    assert_eq!(
        wrong.stderr,
        "error: SNAPTREE_LIVE cannot be `maybe`\nhint: set it to `mapped`, `saved` or `no`, or unset it to use what the host can do\n"
    );
}

#[test]
fn doctor_says_what_the_host_can_do() {
    for (forced, live) in [
        ("", "mapped: RAM is in a file that guests map, and is never copied to make a fork"),
        (
            "saved",
            "saved: libvirt writes the RAM to a file, and reads it for each fork\n                because SNAPTREE_LIVE is `saved`",
        ),
        ("no", "no: snapshots contain only disks, and forks boot\n                because SNAPTREE_LIVE is `no`"),
    ] {
        let ran = Test::new().args(["doctor"]).env("SNAPTREE_LIVE", forced).any_stdout().run();
        let expected = format!(
            "Connection:     fake:state.json\nlibvirt:        11.3.0\nEmulator:       fake 1.0\nAccelerator:    KVM\n\
             Live snapshots: {live}\nStore:          "
        );
        assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    }
}

#[test]
fn what_guests_were_told_is_counted_while_the_snapshot_is_there() {
    let ran = run("local forks = { child:fork(), child:fork { identity = 'new' } }").run();
    ran.again().args(["exec", "lab/child", "--", "true"]).any_stderr().run();
    let resumed = |of: &str| {
        let info = ran.again().args(["info", of]).any_stdout().run().stdout;
        info.lines().find_map(|line| line.strip_prefix("Resumed:        ")).map(str::to_string)
    };
    let counted = "3 (clock set 3, generation id renewed 0, identity renewed 1)";
    assert_eq!((resumed("lab/child").as_deref(), resumed("lab/base")), (Some(counted), None));
    let counts = || {
        let machine = std::fs::read_dir(ran.path().join("store/machines")).unwrap().next().unwrap().unwrap().path();
        let files = std::fs::read_dir(machine.join("restores")).unwrap().flatten();
        files.filter(|file| file.path().extension().is_some_and(|ending| ending == "json")).count()
    };
    // A deletion can be undone; what is given up is not counted any more.
    ran.again().args(["delete", "lab/child", "--yes"]).any_stderr().run();
    ran.again().args(["undo", "lab", "--yes"]).any_stdout().any_stderr().run();
    assert_eq!(resumed("lab/child").as_deref(), Some(counted));
    ran.again().args(["delete", "lab/child", "--yes"]).any_stderr().run();
    assert_eq!(counts(), 1);
    ran.again().args(["gc", "lab", "--yes"]).any_stderr().run();
    assert_eq!(counts(), 0);
}
