//! Every refusal as exact text, on the fake hypervisor; each leaves things as they were.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::Test;

fn refused(script: &str, status: i32, stderr: &str) {
    let ran = Test::new().script(script).args(["run", "script.lua"]).status(status).stderr(stderr).run();
    assert_eq!(ran.domains(), Vec::<String>::new(), "nothing is created");
}

/// The error of a step that fails, below the lines about building.
fn step_fails(step: &str, status: i32, error: &str) {
    let script = format!(
        "local vm = machine('lab', {{ image = require 'images.tiny' {{}} }})\n\
         vm:root('base'):branch('child', function(guest)\n{step}\nend)"
    );
    let answers = serde_json::json!([
        { "command": "apt-get install nosuch", "status": 100, "stdout": "Reading...\n", "stderr": "E: Unable to locate package nosuch\n" },
        { "command": "false x", "status": 1 },
        { "command": "never", "status": 1, "stderr": "not yet\n" },
    ]);
    let ran =
        Test::new().answers(answers).script(&script).args(["run", "script.lua"]).status(status).any_stderr().run();
    const LOOK: &str =
        "child: `snaptree log lab/child` shows what it did, `snaptree shell --failed lab/child` looks around.\n";
    let (_, said) = ran.stderr.split_once("child: failed; the tree is unchanged.\n").expect(&ran.stderr);
    assert_eq!(said, format!("{LOOK}{error}"));
    assert_eq!(ran.domains(), ["lab"], "the builder is gone");
    ran.again().args(["tree", "lab"]).stdout("base (current)\n").run();
}

#[test]
fn a_failing_command_names_line_command_status_and_the_end_of_its_output() {
    step_fails(
        "guest:run 'apt-get install nosuch'",
        1,
        "error: script.lua:3: \"apt-get install nosuch\" failed with exit status 100 in `child`\n  \
           | Reading...\n  | E: Unable to locate package nosuch\n",
    );
}

#[test]
fn a_failure_in_a_function_tells_who_called_it() {
    step_fails(
        "local function install(what)\n  guest:run { 'false', what }\nend\ninstall 'x'",
        1,
        "error: script.lua:4: {\"false\", \"x\"} failed with exit status 1 in `child`\n  called from script.lua:6\n",
    );
}

#[test]
fn a_step_that_takes_too_long_ends_with_124() {
    step_fails(
        "guest:run('sleep 60', { timeout = 0.2 })",
        124,
        "error: script.lua:3: run \"sleep 60\" timed out after 200ms in `child`\n\
         hint: raise the option `timeout`, such as timeout = \"30m\"\n",
    );
    step_fails(
        "guest:wait_until_succeeds('never', { timeout = 1 })",
        124,
        "error: script.lua:3: wait until \"never\" succeeds timed out after 1s in `child`\n  | not yet\n\
         hint: raise the option `timeout`, such as timeout = \"30m\"\n",
    );
    step_fails(
        "guest:wait_for_file('/nowhere', { timeout = 1 })",
        124,
        "error: script.lua:3: wait for file /nowhere timed out after 1s in `child`\n\
         hint: raise the option `timeout`, such as timeout = \"30m\"\n",
    );
}

#[test]
fn wrong_arguments_of_guest_calls_say_what_would_be_right() {
    step_fails(
        "guest:run('x', { usr = 'y' })",
        1,
        "error: script.lua:3: guest:run: unknown option `usr`\nhint: did you mean `user`?\n",
    );
    step_fails(
        "guest:run('x', { timeout = 'soon' })",
        1,
        "error: script.lua:3: guest:run: `timeout` must be a time such as \"90s\" or \"10m\", or a number of seconds, \
         not \"soon\"\n",
    );
    step_fails(
        "guest:run {}",
        1,
        "error: script.lua:3: a command is a string or a list of strings, not an empty list\n\
         hint: guest:run \"ls /\", or guest:run { \"ls\", \"/\" }; options come after it, in a table of their own\n",
    );
    step_fails(
        "guest:write('etc/x', 'y')",
        1,
        "error: script.lua:3: `etc/x` is not an absolute path in the guest\nhint: start it with /\n",
    );
    step_fails(
        "guest:write('/etc/x', 'y', { mode = 644 })",
        1,
        "error: script.lua:3: guest:write: `mode` must be permissions in octal as a string, such as \"0644\", not 644\n",
    );
    step_fails(
        "guest:push('nofile', '/x')",
        1,
        "error: script.lua:3: cannot read `nofile`: No such file or directory\n",
    );
    step_fails(
        "guest:wait_for_port(0)",
        1,
        "error: script.lua:3: guest:wait_for_port: a port is a number from 1 to 65535\n",
    );
}

#[test]
fn a_guest_call_where_lua_cannot_wait_is_explained() {
    step_fails(
        "table.sort({ 2, 1 }, function(a, b) guest:run 'x' return a < b end)",
        1,
        "error: script.lua:3: a call that waits for a guest was made where Lua cannot wait\n\
         hint: such places are callbacks of table.sort and string.gsub: make the call outside them\n",
    );
}

#[test]
fn errors_of_the_script_itself_keep_their_line() {
    step_fails("error 'not today'", 1, "error: script.lua:3: not today\n");
    step_fails("error({ code = 1 })", 1, "error: script.lua:3: the script raised a table: { code = 1 }\n");
    refused("x = = 1", 1, "error: script.lua:1: unexpected symbol near '='\n");
    refused("nothing.there()", 1, "error: script.lua:1: attempt to index a nil value (global 'nothing')\n");
    refused("os.exit('now')", 1, "error: script.lua:1: os.exit: the code must be true, false or a whole number\n");
}

#[test]
fn all_failures_of_branches_are_reported_together() {
    let ran = Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            vm:root("base"):branches {
              a = function(guest) error("first") end,
              b = function(guest) guest:run "true" end,
              c = function(guest) guest:run "false" end,
            }
            "#,
        )
        .args(["run", "script.lua"])
        .status(1)
        .any_stderr()
        .run();
    let end = "error: script.lua:3: first\nerror: script.lua:5: \"false\" failed with exit status 1 in `c`\n";
    assert!(ran.stderr.ends_with(end), "{}", ran.stderr);
    ran.again().args(["tree", "lab"]).stdout("base (current)\n  |\n  +- b\n").run();
}

#[test]
fn a_machine_with_what_only_one_domain_can_have_has_no_root() {
    let script = "machine('lab', { image = require 'images.tiny' {}, extra_xml = [[<hostdev/>]] }):root 'base'";
    let ran = Test::new().script(script).args(["run", "script.lua"]).status(1).any_stderr().run();
    let error = "error: script.lua:1: no branch of `lab` could be built: it has a device of the host\n\
                 hint: only one domain can have that: take it out of `extra_xml`\n";
    assert!(ran.stderr.ends_with(error), "{}", ran.stderr);
    assert_eq!(ran.domains(), Vec::<String>::new());
    assert!(!ran.path().join("store/machines").exists());
}

#[test]
fn a_machine_is_checked_before_anything_is_created() {
    refused(
        "machine('lab', { image = require 'images.tiny' {}, memroy = '1GiB' })",
        1,
        "error: script.lua:1: machine: unknown option `memroy`\nhint: did you mean `memory`?\n",
    );
    refused(
        "machine('lab', { image = require 'images.tiny' {}, memory = 512 })",
        1,
        "error: script.lua:1: machine: `memory` must be a size such as \"512MiB\" or \"2GiB\", not 512\n",
    );
    refused(
        "machine('lab', { image = require 'images.tiny' {}, cpus = 70000 })",
        1,
        "error: script.lua:1: machine: `cpus` must be a whole number from 1 to 65535, not 70000\n",
    );
    refused(
        "require('snaptree').check_options('f', { n = 'x' }, { n = 'integer' })",
        1,
        "error: script.lua:1: f: `n` must be an integer, not \"x\"\n",
    );
    refused(
        "machine('lab', {})",
        1,
        "error: script.lua:1: machine: `image` is missing\n\
         hint: such as require(\"images.debian\") { suite = \"bookworm\" }, or image.file(\"disk.qcow2\")\n",
    );
    refused(
        "machine('a/b', { image = require 'images.tiny' {} })",
        2,
        "error: script.lua:1: \"a/b\" cannot name a machine: it contains `/`, which separates a machine from a snapshot\n\
         hint: letters of any script, digits, spaces, quotes and most signs are fine\n",
    );
    refused(
        "machine('lab', { image = require 'images.tiny' {}, network = 'wifi' })",
        1,
        "error: script.lua:1: machine: there is no `network` \"wifi\"\n\
         hint: it is \"user\", \"none\", \"network:NAME\" or \"bridge:NAME\"\n",
    );
}

#[test]
fn branches_are_named_functions() {
    for (branches, error) in [
        (
            "function() end",
            "error: script.lua:2: snapshot:branches: every branch needs a name\n\
             hint: snapshot:branches { name = function(guest) ... end }\n",
        ),
        (
            "a = 1",
            "error: script.lua:2: the step of `a` must be a function, not an integer\n\
             hint: snapshot:branch(\"name\", function(guest) ... end)\n",
        ),
        (
            "['a/b'] = function() end",
            "error: script.lua:2: \"a/b\" cannot name a snapshot: it contains `/`, which separates a machine from a \
             snapshot\nhint: letters of any script, digits, spaces, quotes and most signs are fine\n",
        ),
    ] {
        let script = format!(
            "local base = machine('lab', {{ image = require 'images.tiny' {{}} }}):root('base')\n\
             base:branches {{ {branches} }}"
        );
        let status = if branches.contains('/') { 2 } else { 1 };
        let ran = Test::new().script(&script).args(["run", "script.lua"]).status(status).any_stderr().run();
        assert!(ran.stderr.ends_with(error), "{}", ran.stderr);
        assert_eq!(ran.started(), Vec::<String>::new());
    }
}

#[test]
fn a_name_is_declared_once() {
    let ran = Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            local base = vm:root("base")
            local function noop() end
            base:branch("child", noop)
            base:branch("child", noop)
            "#,
        )
        .args(["run", "script.lua"])
        .status(1)
        .any_stderr()
        .run();
    let end = "error: script.lua:5: snapshot `child` of `lab` is declared twice, at script.lua:4 and at script.lua:5\n\
               hint: every name in a tree is used once\n";
    assert!(ran.stderr.ends_with(end), "{}", ran.stderr);
}

#[test]
fn names_of_every_script_reach_the_hypervisor_whole() {
    let ran = Test::new()
        .script(
            r#"
            local vm = machine("lab <&> \"'", { image = require "images.tiny" {} })
            vm:root("根 & <root>"):branch("it's \"データ\"", function(guest) guest:run "true" end)
            "#,
        )
        .args(["run", "script.lua"])
        .any_stderr()
        .run();
    ran.again().args(["tree", "lab <&> \"'"]).stdout("根 & <root> (current)\n  |\n  +- it's \"データ\"\n").run();
}

#[test]
fn a_missing_module_says_where_it_was_looked_for() {
    refused(
        "require 'nosuch'",
        1,
        "error: script.lua:1: there is no module `nosuch`: neither in `.`, `[DIR]/stdlib` nor in the binary\n\
         hint: a module NAME.SUB is a file NAME/SUB.lua, such as one beside the script\n",
    );
}

#[test]
fn images_are_checked_before_they_are_used() {
    refused(
        "image.file('nofile.qcow2')",
        1,
        "error: script.lua:1: cannot use image `nofile.qcow2`: there is no such file\n\
         hint: the path is taken relative to `[DIR]`\n",
    );
    refused(
        "image.url('http://127.0.0.1:1/x.qcow2')",
        1,
        "error: script.lua:1: image.url: `http://127.0.0.1:1/x.qcow2` needs a checksum\n\
         hint: use image.url(url, { sha256 = \"...\" }); the image's publisher lists the checksum\n",
    );
}

/// A run whose image is the file `disk`, and its error after the line about building.
fn image_fails(disk: &[u8], options: &str, error: &str) {
    let ran = Test::new()
        .file("disk", disk)
        .script(&format!("machine('lab', {{ image = image.file('disk'{options}) }}):root('base')"))
        .args(["run", "script.lua"])
        .status(1)
        .any_stderr()
        .run();
    let before = "base: building, because it does not exist yet.\nbase: failed; the tree is unchanged.\n";
    assert_eq!(ran.stderr, format!("{before}{error}"));
    assert_eq!(ran.domains(), Vec::<String>::new(), "nothing is created");
}

#[test]
fn a_wrong_checksum_shows_both_sums() {
    let wrong = "0".repeat(64);
    image_fails(
        b"raw",
        &format!(", {{ sha256 = '{wrong}' }}"),
        &format!(
            "error: script.lua:1: image `[DIR]/disk` has the wrong checksum: expected sha256 {wrong}, found \
             d7439bee24773bcbfa2d0a97947ee36227b10d1022b1a55847e928965bb6bfde\n\
             hint: if the file is the right one, put the found checksum into the script\n"
        ),
    );
}

#[test]
fn an_image_that_depends_on_another_file_is_refused() {
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.extend(112u64.to_be_bytes());
    qcow2.extend(9u32.to_be_bytes());
    qcow2.resize(112, 0);
    qcow2.extend(b"/base.img");
    image_fails(
        &qcow2,
        "",
        "error: script.lua:1: cannot use image `disk`: it depends on the backing file `/base.img`\n\
         hint: flatten it first, if you trust what it names: qemu-img convert -O qcow2 disk flat.qcow2\n",
    );
}

#[test]
fn what_is_not_there_is_named_with_the_nearest_that_is() {
    let lab = Test::new()
        .script("machine('lab', { image = require 'images.tiny' {} }):root('base')")
        .args(["run", "script.lua"])
        .any_stderr()
        .run();
    lab.again()
        .args(["tree", "labb"])
        .status(1)
        .stderr("error: there is no machine `labb` on fake:state.json\nhint: did you mean `lab`?\n")
        .run();
    lab.again()
        .args(["exec", "lab/bsae", "--", "true"])
        .status(1)
        .stderr("error: there is no snapshot `bsae` in `lab`\nhint: did you mean `base`?\n")
        .run();
    lab.again()
        .args(["fork", "lab"])
        .status(2)
        .stderr(
            "
            error: invalid value 'lab' for '<SNAPSHOT>': `lab` names no snapshot
            hint: write MACHINE/SNAPSHOT, such as kvm_debian12/sn01_kvm_debian12

            For more information, try '--help'.
            ",
        )
        .run();
}

#[test]
fn a_script_that_is_not_there_is_a_usage_error() {
    Test::new()
        .args(["run", "nofile.lua"])
        .status(2)
        .stderr("error: cannot read the script `nofile.lua`: No such file or directory\n")
        .run();
}

#[test]
fn text_that_is_not_utf_8_is_said_to_be_none() {
    Test::new()
        .script(
            r#"
            local function refused(...) print(select(2, pcall(...)).message) end
            local base = machine("lab", { image = require "images.tiny" {} }):root("base")
            refused(require, "\xff")
            refused(base.branch, base, "\xff", print)
            refused(base.branches, base, { ["\xff"] = print })
            base:branch("child", function(guest) refused(guest.write, guest, "/a\xff", "x") end)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout(
            "bad argument #1 to this function: expected text in UTF-8, got bytes that are not\n\
             bad argument #1 to `snapshot:branch`: expected text in UTF-8, got bytes that are not\n\
             expected text in UTF-8, got bytes that are not\n\
             bad argument #1 to `guest:write`: expected text in UTF-8, got bytes that are not\n",
        )
        .any_stderr()
        .run();
}

#[test]
fn arguments_that_are_not_utf_8_are_refused_by_name() {
    let bytes = OsStr::from_bytes(b"a\xff");
    for before in [&["info"][..], &["exec", "lab/base", "--", "cat"], &["eval"]] {
        let args = before.iter().map(OsStr::new).chain([bytes]);
        Test::new()
            .args(args)
            .status(2)
            .stderr(
                "error: the argument \"a\\xFF\" is not UTF-8\n\
                 hint: names are in UTF-8; bytes reach a command in a guest through its input, or in a file\n",
            )
            .run();
    }
}

#[test]
fn a_wrong_argument_has_its_exit_code_even_if_it_cannot_be_told() {
    Test::new().args(["nosuch"]).in_shell("\"$@\" 2>/dev/full").status(2).run();
}
