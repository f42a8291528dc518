//! `expect`, `send` and `screen`, on the fake hypervisor.

use serde_json::{Value, json};

use crate::support::Test;

const STEP: &str = r#"
    machine('lab', { image = require 'images.tiny' {} }):root('base'):branch('child', function(guest)
      print(guest:expect "login: $")
      guest:send "root\n"
      print(guest:expect("(Pass)(?:word|phrase): $"))
      guest:send "secret\n"
      print(guest:expect "(x)?# $")
      guest:send "date -u\n"
      print(guest:expect "([0-9]+):([0-9]+)\n# $")
      print(guest:screen())
    end)
"#;

fn answers() -> Value {
    json!([
        { "console": "\u{1b}[2JDebian 12\nlab login: " },
        { "console": "Password: ", "after": "root" },
        { "console": "\u{1b}[1mwelcome\u{1b}[0m\n# ", "after": "secret" },
        { "command": "date -u", "stdout": "12:34\n" },
    ])
}

#[test]
fn a_step_logs_in_on_the_console_and_is_cached_afterwards() {
    let printed =
        "login: \nPass\nnil\n12\t34\nDebian 12\nlab login: root\nPassword: secret\nwelcome\n# date -u\n12:34\n#\n";
    let ran =
        Test::new().answers(answers()).script(STEP).args(["run", "script.lua"]).stdout(printed).any_stderr().run();
    assert_eq!(ran.executed(), ["date -u"]);
    ran.again().args(["run", "script.lua"]).stdout(printed).any_stderr().run();
    assert_eq!(ran.executed(), ["date -u"]);
    let log = ran.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    for line in ["1: expect \"login: $\"", "2: send \"root\\n\"", "8: read the screen"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    // Another text is another step.
    let other = STEP.replace("secret\\n", "other\\n");
    let planned = ran.again().script(&other).args(["plan", "script.lua"]).status(2).any_stdout().any_stderr().run();
    assert!(planned.stdout.contains("send \"secret\\n\"") && planned.stdout.contains("send \"other\\n\""));
}

#[test]
fn a_pattern_that_never_comes_shows_the_screen() {
    let script = STEP.replace("\"login: $\"", "(\"Login: $\", { timeout = '200ms' })");
    let error = "error: script.lua:2: expect \"Login: $\" timed out after 200ms in `child`\n\
                 \x20 | Debian 12\n  | lab login:\n\
                 hint: raise the option `timeout`, such as timeout = \"30m\"\n";
    let ran = Test::new().answers(answers()).script(&script).args(["run", "script.lua"]).status(124).any_stderr().run();
    assert!(ran.stderr.contains(error), "{}", ran.stderr);
}

#[test]
fn nothing_is_resumed_from_after_an_operation_on_the_console() {
    let script = STEP
        .replace("print(guest:screen())", "guest:run 'false'")
        .replace("print(guest:expect \"login: $\")", "guest:run 'first' guest:expect 'login: $' guest:run 'second'");
    let ran = Test::new()
        .answers(answers())
        .script(&script)
        .env("SNAPTREE_CHECKPOINT_AFTER", "0s")
        .args(["run", "script.lua"])
        .status(1)
        .any_stdout()
        .any_stderr()
        .run();
    assert_eq!(ran.executed(), ["first", "second", "date -u", "false"]);
    let mended = script.replace("guest:run 'false'", "guest:run 'true'");
    ran.again().script(&mended).args(["run", "script.lua"]).any_stdout().any_stderr().run();
    // Its first operation was before the console was used; the second one has to be done again.
    let executed = ran.executed();
    assert_eq!(executed[4..], ["second", "date -u", "true"], "{executed:?}");
}

#[test]
fn a_machine_that_is_paused_or_has_stopped_has_a_console() {
    let script = r#"
        local m = machine('lab', { image = require 'images.tiny' {} })
        m:root 'base'
        local m = machine.open 'lab'
        m:start { paused = true }
        local guest = m:guest()
        guest:screen()
        m:resume()
        print(guest:expect "[a-z]+ login")
        print(guest:screen())
        guest:send "root"
        print(m:guest():expect(": (.+)"))
        m:destroy()
        print(pcall(guest.expect, guest, "more"))
        m:start()
        print(guest:expect "login")
        print(pcall(guest.expect, guest, "("))
    "#;
    let printed = "lab login\nDebian 12\nlab login:\nroot\n\
                   false\tscript.lua:13: the console of `lab` has closed: the domain has stopped\n  \
                   | Debian 12\n  | lab login: root\n";
    let ran = Test::new().answers(answers()).script(script).args(["run", "script.lua"]).any_stdout().any_stderr().run();
    let (before, after) = ran.stdout.split_once("login\nfalse\t").unwrap_or_else(|| panic!("{}", ran.stdout));
    assert_eq!(before, printed);
    assert_eq!(
        after,
        "script.lua:16: guest:expect: \"(\" is not a regular expression: unclosed group\n\
         hint: `.*`, `(a|b)` and `[0-9]+` are some; a \\ before a sign, as in `\\$`, takes it literally\n"
    );
}
