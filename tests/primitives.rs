//! The snapshot primitives of the Lua API on machines that a script opens, whether or not snaptree created them.

use crate::support::{Ran, Test};

/// A machine `lab` with `base`, `child` below it and `leaf` below that; `base` is the current snapshot.
fn lab() -> Ran {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base", { comment = "as installed" })
          :branch("child", function(guest) guest:run "a" end, { comment = "with a" })
          :branch("leaf", function(guest) guest:run "b" end)
    "#;
    Test::new().script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// The same machine as one that snaptree did not create.
fn foreign() -> Ran {
    let lab = lab();
    let mut state = lab.state();
    let domain = &mut state["domains"]["lab"];
    domain["document"]["metadata"] = serde_json::Value::Null;
    for snapshot in domain["snapshots"].as_object_mut().expect("snapshots").values_mut() {
        snapshot["document"]["metadata"] = serde_json::Value::Null;
    }
    lab.again().file("state.json", state.to_string()).args(["tree", "lab"]).any_stdout().run()
}

/// Runs a script in which `m` is the machine and `s` its snapshot `child`.
fn with_lab(lab: &Ran, script: &str) -> Test {
    let script = format!("local m, s = machine.open 'lab', machine.open 'lab':find 'child'\n{}", script.trim_start());
    lab.again().script(&script).args(["run", "script.lua"])
}

/// Checks what each statement on line 2 of a script is refused with.
#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    let lab = lab();
    let before = lab.state();
    for (statement, error) in cases {
        let ran = with_lab(&lab, statement).status(1).stderr(&format!("error: script.lua:2: {error}\n")).run();
        assert_eq!(ran.state(), before, "`{statement}` changed something");
    }
}

#[test]
fn unknown_options_suggest_the_nearest_one() {
    refused(&[
        (
            "m:snapshot('x', { diskonly = true })",
            "machine:snapshot: unknown option `diskonly`\nhint: did you mean `disk_only`?",
        ),
        (
            "m:snapshot('x', { zzz = true })",
            "machine:snapshot: unknown option `zzz`\nhint: the options are: comment, disk_only, atomic, quiesce, memory, \
             kind, disks, halt, live, reuse_external",
        ),
        ("m:snapshots { leafs = true }", "machine:snapshots: unknown option `leafs`\nhint: did you mean `leaves`?"),
        ("m:start { pause = true }", "machine:start: unknown option `pause`\nhint: did you mean `paused`?"),
        ("m:shutdown { time = 3 }", "machine:shutdown: unknown option `time`\nhint: did you mean `timeout`?"),
        ("m:destroy { force = true }", "machine:destroy: unknown option `force`\nhint: it takes no options"),
        ("m:destroy(true)", "machine:destroy: options must be a table, not true\nhint: it takes no options"),
        ("m:xml { active = true }", "machine:xml: unknown option `active`\nhint: did you mean `inactive`?"),
        ("m:guest { wait = 1 }", "machine:guest: unknown option `wait`\nhint: the options are: timeout"),
        ("s:revert { run = true }", "snapshot:revert: unknown option `run`\nhint: did you mean `running`?"),
        ("s:delete { childs = true }", "snapshot:delete: unknown option `childs`\nhint: did you mean `children`?"),
    ]);
}

#[test]
fn values_of_the_wrong_type_say_what_would_be_right() {
    refused(&[
        ("m:snapshot('x', { comment = 1 })", "machine:snapshot: `comment` must be a string, not 1"),
        ("m:snapshot('x', { atomic = 'yes' })", "machine:snapshot: `atomic` must be true or false, not \"yes\""),
        ("m:snapshot('x', { memory = 1 })", "machine:snapshot: `memory` must be true, false or a file, not 1"),
        ("m:snapshot('x', { memory = '' })", "machine:snapshot: `memory` must be true, false or a file, not \"\""),
        (
            "m:snapshot('x', { kind = 'extern' })",
            "machine:snapshot: `kind` must be \"external\" or \"internal\", not \"extern\"\nhint: did you mean \"external\"?",
        ),
        (
            "m:snapshot('x', { disks = { vda = 1 } })",
            "machine:snapshot: `disks.vda` must be true, false or a file, not 1",
        ),
        (
            "m:snapshot('x', { disks = { 'vda' } })",
            "machine:snapshot: `disks` must be a table such as { vda = true, vdb = false }, not a list",
        ),
        (
            "m:snapshot('x', { disks = 'vda' })",
            "machine:snapshot: `disks` must be a table such as { vda = true, vdb = false }, not \"vda\"",
        ),
        (
            "m:snapshots { state = { 'shutoff', 'runing' } }",
            "machine:snapshots: `state` must be \"running\", \"blocked\", \"paused\", \"shutdown\", \"shutoff\", \
             \"crashed\", \"pmsuspended\" or \"disk-snapshot\", not \"runing\"\nhint: did you mean \"running\"?",
        ),
        (
            "m:snapshots { state = { running = true } }",
            "machine:snapshots: `state` is a list, and has no key `running`\nhint: such as state = { \"running\" }",
        ),
        ("m:snapshots { from = 1 }", "machine:snapshots: `from` must be a snapshot or its name, not 1"),
        ("m:snapshots { from = m }", "machine:snapshots: `from` must be a snapshot or its name, not a userdata"),
        (
            "m:undo 'last'",
            "machine:undo: the number must be a positive whole number, not \"last\"\n\
             hint: machine:undos() lists what can be undone, with numbers",
        ),
        ("m:find()", "bad argument #1 to `machine:find`: expected string, got nil"),
        ("m:screenshot {}", "bad argument #1 to `machine:screenshot`: expected string, got table"),
        (
            "m:guest { timeout = 'soon' }",
            "machine:guest: `timeout` must be a time such as \"90s\" or \"10m\", or a number of seconds, not \"soon\"",
        ),
    ]);
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let exclude = |function: &str, one: &str, other: &str| {
        format!("{function}: `{one}` and `{other}` exclude each other\nhint: leave one of them out")
    };
    refused(&[
        ("m:snapshot('x', { disk_only = true, memory = true })", &exclude("machine:snapshot", "disk_only", "memory")),
        ("m:snapshot('x', { disk_only = true, memory = 'ram' })", &exclude("machine:snapshot", "disk_only", "memory")),
        ("m:snapshot('x', { disk_only = true, live = true })", &exclude("machine:snapshot", "disk_only", "live")),
        ("m:snapshots { leaves = true, no_leaves = true }", &exclude("machine:snapshots", "leaves", "no_leaves")),
        ("m:snapshots { roots = true, from = s }", &exclude("machine:snapshots", "roots", "from")),
        (
            "m:snapshots { descendants = true }",
            "machine:snapshots: `descendants` needs `from`\n\
             hint: without them every snapshot is listed; from = \"NAME\" lists the children of one",
        ),
        ("s:revert { running = true, paused = true }", &exclude("snapshot:revert", "running", "paused")),
        (
            "s:delete { children = true, children_only = true }",
            &exclude("snapshot:delete", "children", "children_only"),
        ),
    ]);
}

#[test]
fn a_method_called_with_a_dot_says_so() {
    refused(&[
        ("m.snapshot('x')", "`snapshot` was not called on a machine\nhint: machine:snapshot(...), with a colon"),
        ("m.start()", "`start` was not called on a machine\nhint: machine:start(...), with a colon"),
        (
            "s.revert { running = true }",
            "`revert` was not called on a snapshot\nhint: snapshot:revert(...), with a colon",
        ),
        ("s.branch('x', print)", "`branch` was not called on a snapshot\nhint: snapshot:branch(...), with a colon"),
        (
            "machine:open 'lab'",
            "machine.open: the name must be a string, not a table\nhint: such as machine.open(\"kvm_debian12\")",
        ),
    ]);
}

#[test]
fn a_field_that_is_not_there_is_no_nil() {
    refused(&[
        ("print(s.comments)", "a snapshot has no `comments`\nhint: did you mean `comment`?"),
        ("m:snapshop 'x'", "a machine has no `snapshop`\nhint: did you mean `snapshot`?"),
        ("s.comment = 'x'", "`comment` of a snapshot cannot be set"),
        ("m.name = 'x'", "`name` of a machine cannot be set"),
        ("libvirt.connect('fake:state.json'):opne 'x'", "a connection has no `opne`\nhint: did you mean `open`?"),
    ]);
}

#[test]
fn what_does_not_exist_is_named() {
    refused(&[
        ("machine.open 'lob'", "there is no machine `lob` on fake:state.json\nhint: did you mean `lab`?"),
        ("m:snapshots { from = 'chil' }", "there is no snapshot `chil` in `lab`\nhint: did you mean `child`?"),
        (
            "machine('new', { image = require 'images.tiny' {} }):snapshots()",
            "machine `new` does not exist yet\nhint: machine:root(\"name\") makes it",
        ),
        (
            "libvirt.connect()",
            "libvirt.connect: the URI must be a string, not nil\nhint: such as libvirt.connect(\"qemu:///system\")",
        ),
        ("libvirt.connect ''", "libvirt.connect: the URI is empty\nhint: such as libvirt.connect(\"qemu:///system\")"),
        (
            "libvirt.connect 'fake:other.json':open 'lab'",
            "there is no machine `lab` on fake:other.json\nhint: `snaptree tree` lists what there is",
        ),
    ]);
}

#[test]
fn a_name_that_libvirt_cannot_carry_is_refused() {
    with_lab(&lab(), "m:snapshot 'a/b'")
        .status(2)
        .stderr(
            "error: script.lua:2: \"a/b\" cannot name a snapshot: it contains `/`, which separates a machine from a \
             snapshot\nhint: letters of any script, digits, spaces, quotes and most signs are fine\n",
        )
        .run();
}

#[test]
fn machines_are_opened_listed_and_compared() {
    with_lab(
        &foreign(),
        "
        print(m, m.name, #m.uuid, #machine.list(), machine.list()[1] == m)
        local c, other = libvirt.connect 'fake:state.json', libvirt.connect 'fake:other.json'
        print(c, c.uri, c == libvirt.connect(c.uri), c == other, #c:list(), #other:list())
        print(c:open 'lab' == m, m == s, m == 'lab', m:state())
        ",
    )
    .stdout(
        "
        lab\tlab\t36\t1\ttrue
        fake:state.json\tfake:state.json\ttrue\tfalse\t1\t0
        true\tfalse\tfalse\tshutoff
        ",
    )
    .run();
}

#[test]
fn snapshots_are_found_and_filtered_in_topological_order() {
    with_lab(
        &foreign(),
        "
        local function show(options)
          local names = {}
          for n, snapshot in ipairs(m:snapshots(options)) do names[n] = snapshot.name end
          print(table.concat(names, ' '))
        end
        show()
        show { topological = true }
        show { roots = true }
        show { leaves = true }
        show { no_leaves = true }
        show { from = s }
        show { from = 'base', descendants = true }
        show { kind = 'internal' }
        show { state = 'shutoff', leaves = true }
        show { state = { 'running', 'paused' } }
        print(m:find 'child' == s, m:find 'nosuch', m:find 'a/b', m:current())
        local tree = m:tree()
        print(#tree, tree[1].name, tree[1].current, tree[1].children[1].name, tree[1].children[1].current)
        ",
    )
    .stdout(
        "
        base child leaf
        base child leaf
        base
        leaf
        base child
        leaf
        child leaf

        leaf

        true\tnil\tnil\tlab/base
        1\tbase\ttrue\tchild\tfalse
        ",
    )
    .run();
}

#[test]
fn a_snapshots_fields_show_what_it_is() {
    with_lab(
        &foreign(),
        "
        print(s, s.name, s.machine, s.parent, s.parent.parent, s.comment)
        print(math.type(s.created), s.state, s.kind, s.live, math.type(s.size), s.memory and 'live', type(s.xml))
        local disk = s.disks[1]
        print(#s.disks, disk.target, disk.kind, disk.file == disk.chain[1].path, #disk.chain, disk.overlay ~= nil)
        print(#s:children(), s:children()[1], s:children()[1].parent == s, s:is_current(), s.parent:is_current())
        ",
    )
    .stdout(
        "
        lab/child\tchild\tlab\tlab/base\tnil\twith a
        integer\tshutoff\texternal\ttrue\tinteger\tlive\tstring
        1\tvda\texternal\ttrue\t2\ttrue
        1\tlab/leaf\ttrue\tfalse\ttrue
        ",
    )
    .run();
}

#[test]
fn a_declared_machine_has_the_same_primitives() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        local base = vm:root "base"
        print(vm == machine.open "lab", machine.open "lab" == vm, base == vm:find "base", base.comment)
        print(#vm:snapshots(), vm:current(), vm:state(), #vm.uuid)
    "#;
    lab()
        .again()
        .script(script)
        .args(["run", "script.lua"])
        .stdout("true\ttrue\ttrue\tas installed\n3\tlab/base\tshutoff\t36\n")
        .any_stderr()
        .run();
}

#[test]
fn branches_grow_from_a_found_snapshot_that_a_script_made() {
    let lab = lab();
    let grow = "print(s:branch('other', function(guest) guest:run 'c' end).parent)";
    with_lab(&lab, grow).stdout("lab/child\n").any_stderr().run();
    with_lab(&lab, grow).stdout("lab/child\n").stderr("other: cached.\n").run();
}

#[test]
fn a_snapshot_is_taken_and_becomes_the_current_one() {
    with_lab(
        &foreign(),
        "
        local new = m:snapshot('new', { comment = 'by hand', atomic = true })
        print(new, new.comment, new.parent, new:is_current(), m:current() == new, #m:find 'base':children())
        print((pcall(m.snapshot, m, 'new')))
        ",
    )
    .stdout("lab/new\tby hand\tlab/base\ttrue\ttrue\t2\nfalse\n")
    .run();
}

#[test]
fn a_revert_moves_the_current_snapshot_and_can_be_taken_back() {
    with_lab(
        &foreign(),
        "
        s:revert()
        print(m:current(), #m:undos(), m:undos()[1].number, m:undos()[1].what, math.type(m:undos()[1].created))
        print(m:undo())
        print(m:current())
        ",
    )
    .stdout("lab/child\t1\t1\trevert to child\tinteger\nrevert to child\nlab/base\n")
    .run();
}

#[test]
fn deletion_says_what_went() {
    let lab = foreign();
    let left = |script: &str, printed: &str| {
        with_lab(&lab, &format!("{script}\nprint(#m:snapshots())\nm:undo()")).stdout(printed).run();
    };
    left("print(table.concat(s:delete(), ' '), m:find 'leaf'.parent)", "child\tlab/base\n2\n");
    left("print(#s:delete { children = true }, m:find 'leaf')", "2\tnil\n1\n");
    left("print(table.concat(s:delete { children_only = true }, ' '), #s:children())", "leaf\t0\n2\n");
}

#[test]
fn a_deleted_snapshot_is_gone_for_a_script_that_still_holds_it() {
    with_lab(&foreign(), "s:delete()\nprint(s.name)\nprint(s.comment)")
        .status(1)
        .stdout("child\n")
        .stderr(
            "error: script.lua:4: there is no snapshot `child` in `lab`\nhint: `snaptree tree` lists what there is\n",
        )
        .run();
}

#[test]
fn a_machine_is_started_stopped_and_operated() {
    let lab = foreign();
    with_lab(
        &lab,
        "
        m:start()
        print(m:state())
        m:suspend()
        print(m:state())
        m:resume()
        print(m:state(), m:guest { timeout = '5s' }:run 'uname'.stdout)
        m:destroy()
        print(m:state())
        m:start { paused = true }
        print(m:state(), type(m:xml()), type(m:xml { inactive = true }))
        m:destroy()
        m:destroy()
        ",
    )
    .answers(serde_json::json!([{ "command": "uname", "stdout": "Linux" }]))
    .status(1)
    .stdout("running\npaused\nrunning\tLinux\nshutoff\npaused\tstring\tstring\n")
    .stderr_contains("error: script.lua:13: machine `lab` is not running\n")
    .run();
}
