//! `require`: what is found, that it is loaded once, and modules that need each other.

use crate::support::Test;

const HINT: &str =
    "hint: call `require` of one of them inside the function that uses it, or move what both need into a third\n";

#[test]
fn modules_that_require_each_other_are_named() {
    let lab = Test::new()
        .file("a.lua", "local b = require 'b'\nreturn {}")
        .file("b.lua", "return { c = require 'c' }")
        .file("c.lua", "\nlocal a = require 'a'\nreturn a")
        .file("own.lua", "return (require 'own')");
    lab.script("require 'a'")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!(
            "error: ./c.lua:2: modules require each other: `./a.lua` -> `./b.lua` -> `./c.lua` -> `./a.lua`\n  called \
             from ./b.lua:1, ./a.lua:1, script.lua:1\n{HINT}"
        ))
        .run()
        .again()
        .script("require 'own'")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!(
            "error: ./own.lua:1: the module `./own.lua` requires itself\n  called from script.lua:1\n{HINT}"
        ))
        .run();
}

#[test]
fn a_module_that_the_script_made_itself_goes_by_its_name_in_a_cycle() {
    let lab = Test::new();
    lab.script("package.preload.own = function() require 'own' end\nrequire 'own'")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!("error: script.lua:1: the module `own` requires itself\n  called from script.lua:2\n{HINT}"))
        .run()
        .again()
        .file("b.lua", "require 'a'")
        .script("package.preload.a = function() require 'b' end\nrequire 'a'")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!(
            "error: ./b.lua:1: modules require each other: `a` -> `./b.lua` -> `a`\n  called from script.lua:1, \
             script.lua:2\n{HINT}"
        ))
        .run();
}

#[test]
fn a_script_that_hides_the_module_that_it_requires_is_to_be_renamed() {
    let lab = Test::new();
    for (script, text, told) in [
        (
            "apt.lua",
            "local apt = require 'apt'",
            "error: ./apt.lua:1: the script `apt.lua` hides the module `apt`, which ships with snaptree\n  called from \
             apt.lua:1\nhint: rename the script\n",
        ),
        (
            "own.lua",
            "require 'own'",
            "error: ./own.lua:1: the script `own.lua` hides the module `own`\n  called from own.lua:1\nhint: rename the \
             script\n",
        ),
        (
            "mariadb.lua",
            "require 'lib'",
            "error: ./mariadb.lua:1: the script `mariadb.lua` hides the module `mariadb`, which ships with snaptree\n  \
             called from ./lib.lua:1, mariadb.lua:1\nhint: rename the script\n",
        ),
    ] {
        lab.again()
            .file(script, text)
            .file("lib.lua", "require 'mariadb'")
            .args(["run", script])
            .status(1)
            .stderr(told)
            .run();
    }
}

#[test]
fn a_require_inside_a_function_or_after_setting_what_others_get_is_no_cycle() {
    Test::new()
        .file("a.lua", "local M = {}; function M.b() return require 'b' end; return M")
        .file("b.lua", "return { a = require 'a' }")
        .file("c.lua", "local M = {}; package.loaded.c = M; M.d = require 'd'; return M")
        .file("d.lua", "return { c = require 'c' }")
        .script("local a, c = require 'a', require 'c' print(a.b().a == a, c.d.c == c, require 'c' == c)")
        .args(["run", "script.lua"])
        .stdout("true\ttrue\ttrue\n")
        .run();
}

#[test]
fn a_module_that_several_ask_for_at_the_same_time_is_loaded_once() {
    Test::new()
        .file("slow.lua", "LOADS = (LOADS or 0) + 1; machine.list(); machine.list(); return {}")
        .file("also.lua", "return { slow = require 'slow' }")
        .script(
            r#"
            local got = parallel {
              function() return require "slow" end,
              function() return require("also").slow end,
              function() return coroutine.wrap(function() return require "slow" end)() end,
              function() return require("also").slow end,
            }
            print(LOADS, got[1] == got[2], got[2] == got[3], got[3] == got[4])
            "#,
        )
        .args(["run", "script.lua"])
        .stdout("1\ttrue\ttrue\ttrue\n")
        .run();
}

#[test]
fn modules_that_wait_for_each_other_in_two_coroutines_are_named() {
    let ran = Test::new()
        .file("a.lua", "machine.list()\nreturn { b = require 'b' }")
        .file("b.lua", "machine.list()\nreturn { a = require 'a' }")
        .script(
            r#"
            local ok, e = pcall(parallel, { function() require "a" end, function() require "b" end })
            print(#e.failures, e.failures[1] == e.failures[2] or e.failures[1].message == e.failures[2].message)
            print(e.failures[1].message:match("^modules require each other: `%./[ab].lua` ") ~= nil)
            print(pcall(require, "a"))
            "#,
        )
        .args(["run", "script.lua"])
        .any_stdout()
        .run();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..2], ["2\ttrue", "true"]);
    assert!(lines[2].starts_with("false\t./b.lua:2: modules require each other: `./a.lua` -> `./b.lua`"), "{lines:?}");
}

#[test]
fn a_module_that_failed_fails_for_all_who_wait_and_is_loaded_again_for_the_next() {
    Test::new()
        .file("broken.lua", "LOADS = (LOADS or 0) + 1; machine.list(); error(WHY)")
        .script(
            r#"
            WHY = { "no luck" }
            local caught = function() return select(2, pcall(require, "broken")) end
            local got = parallel { caught, caught, caught }
            print(LOADS, got[1] == WHY, got[2] == WHY, got[3] == WHY)
            WHY = nil
            print(pcall(require, "broken"))
            print(LOADS, package.loaded.broken)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout("1\ttrue\ttrue\ttrue\nfalse\tnil\n2\tnil\n")
        .run();
}

#[test]
fn a_step_that_is_given_up_while_it_loads_a_module_leaves_it_to_be_loaded_again() {
    Test::new()
        .file(
            "slow.lua",
            "LOADS = (LOADS or 0) + 1\nif LOADS == 1 then GUEST:run('sleep 60', { timeout = '50s' }) end\nreturn 'loaded'",
        )
        .script(
            r#"
            local base = machine("lab", { image = require "images.tiny" {} }):root("base")
            local ok, e = pcall(base.branch, base, "web", function(guest)
              GUEST = guest
              local open <close> = setmetatable({}, { __close = function() print("closed") end })
              coroutine.wrap(function() require "slow" end)()
            end, { timeout = "100ms" })
            print(ok, e.kind)
            print(require "slow", LOADS)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout("closed\nfalse\ttimeout\nloaded\t2\n")
        .any_stderr()
        .run();
}

#[test]
fn what_a_module_returns_is_what_lua_gives() {
    Test::new()
        .file("nothing.lua", "NAME, FILE = ...")
        .file("of/init.lua", "return 'of'")
        .file("lib/more.lua", "return 'more'")
        .file("sets.lua", "package.loaded.sets = 'set'")
        .script(
            r#"
            print(require "nothing")
            print(NAME, FILE, require "nothing")
            print(require "of")
            print(require "sets")
            package.path = package.path .. ";lib/?.lua"
            print(require "more")
            package.preload.made = function(...) return { ... } end
            print(table.unpack((require "made")))
            print(pcall(require))
            print(pcall(require, {}))
            "#,
        )
        .args(["run", "script.lua"])
        .stdout(
            "true\t./nothing.lua\nnothing\t./nothing.lua\ttrue\nof\t./of/init.lua\nset\t./sets.lua\nmore\tlib/more.lua\n\
             made\t:preload:\nfalse\tbad argument #1 to 'require' (string expected, got no value)\n\
             false\tbad argument #1 to 'require' (string expected, got table)\n",
        )
        .run();
}

#[test]
fn a_module_that_is_not_found_or_no_lua_is_an_error_at_its_place() {
    let lab = Test::new().file("bad.lua", "return 1 +\n").file("old.lua", b"\x1bLua\x54");
    for (script, said) in [
        (
            "-- none\nrequire 'no.such'",
            "error: script.lua:2: there is no module `no.such`: neither in `.`, `HOME/.config/snaptree` nor in the binary\n\
             hint: a module NAME.SUB is a file NAME/SUB.lua, such as one beside the script\n",
        ),
        ("require 'bad'", "error: ./bad.lua:2: unexpected symbol near <eof>\n"),
        (
            "require 'old'",
            "error: script.lua:1: `./old.lua` is compiled Lua\nhint: run its source: only text is loaded\n",
        ),
    ] {
        let ran = lab.again().script(script).args(["run", "script.lua"]).status(1).any_stderr().run();
        let told = ran.stderr.lines().map(|line| match line.split_once("neither in `.`, ") {
            Some((begin, _)) => format!("{begin}neither in `.`, `HOME/.config/snaptree` nor in the binary\n"),
            None => format!("{line}\n"),
        });
        assert_eq!(told.collect::<String>(), said);
    }
}
