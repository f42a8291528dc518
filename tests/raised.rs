//! What a script raises: how it is reported when it is not caught, and that it comes back unchanged.

use crate::support::Test;

const BASE: &str = r#"local base = machine("lab", { image = require "images.tiny" {} }):root("base")"#;

#[test]
fn an_uncaught_error_tells_what_it_can() {
    for (raised, told) in [
        (
            r#"{ code = 42, message = "mirror is down" }"#,
            r#"the script raised a table: { code = 42, message = "mirror is down" }"#,
        ),
        ("{ 1, a = { b = { c = 1 } } }", "the script raised a table: { 1, a = { b = {...} } }"),
        ("(function() local t = {}; t.me = t; return t end)()", "the script raised a table: { me = <itself> }"),
        ("setmetatable({ code = 7 }, { __tostring = function(e) return 'disk error ' .. e.code end })", "disk error 7"),
        (
            "setmetatable({ code = 7 }, { __tostring = function() error('worse') end })",
            "the script raised a table: { code = 7 }: its `__tostring` failed: worse",
        ),
        (
            "setmetatable({ code = 7 }, { __tostring = function() return {} end })",
            "the script raised a table: { code = 7 }: its `__tostring` failed: '__tostring' must return a string",
        ),
        ("setmetatable({ code = 7 }, { __name = 'my.error' })", "the script raised a table, `my.error`: { code = 7 }"),
        ("nil", "the script raised nil\nhint: error(\"why\") says what failed"),
        ("false", "the script raised false"),
        ("42", "the script raised 42"),
        ("print", "the script raised a function"),
        ("coroutine.create(print)", "the script raised a coroutine"),
        ("machine('lab', { image = require 'images.tiny' {} })", "the script raised <machine lab>"),
        ("'text'", "text"),
        ("'text', 0", "text"),
        ("'text', 2", "text"),
    ] {
        Test::new()
            .script(&format!("error({raised})"))
            .args(["run", "script.lua"])
            .status(1)
            .stderr(&format!("error: script.lua:1: {told}\n"))
            .run();
    }
}

#[test]
fn a_yield_without_a_resumer_is_an_error() {
    let yields =
        "local co = coroutine.wrap(function() base:branch('a', function(g) coroutine.yield('mid') end) end) co()";
    for (script, place) in [("coroutine.yield(1)", 1), (&format!("{BASE}\n{yields}"), 2)] {
        let ran = Test::new().script(script).args(["run", "script.lua"]).status(1).any_stderr().run();
        let error = format!("error: script.lua:{place}: attempt to yield from outside a coroutine\n");
        assert!(ran.stderr.ends_with(&error), "{}", ran.stderr);
    }
}

#[test]
fn a_large_table_is_told_in_part() {
    let told = (1..=10).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    Test::new()
        .script("local t = {} for i = 1, 1000 do t[i] = i end t.text = ('x'):rep(1000) error(t)")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!("error: script.lua:1: the script raised a table: {{ {told}, ... }}\n"))
        .run();
    Test::new()
        .script("error { text = ('x'):rep(1000) }")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(&format!("error: script.lua:1: the script raised a table: {{ text = \"{}\"... }}\n", "x".repeat(200)))
        .run();
}

#[test]
fn the_place_and_the_calls_are_told_of_any_value() {
    Test::new()
        .script(
            "
            local function fails()
              error({ 1 })
            end
            local function calls()
              fails()
            end
            calls()
            ",
        )
        .args(["run", "script.lua"])
        .status(1)
        .stderr("error: script.lua:2: the script raised a table: { 1 }\n  called from script.lua:5, script.lua:7\n")
        .run();
}

#[test]
fn a_pcall_gets_the_very_value_that_was_raised() {
    Test::new()
        .script(&format!(
            r#"
            {BASE}
            local count = 0
            local function is(what, value, ok, got)
              if ok or not (rawequal(value, got) or value ~= value and got ~= got) then print(what, value, ok, got) end
              count = count + 1
            end
            local values = {{ {{ code = 1 }}, setmetatable({{}}, {{ __tostring = error }}), "text", 42, false, print, base, 0/0 }}
            for n = 1, 9 do
              local function raise() error(values[n], 0) end
              is("branch", values[n], pcall(base.branch, base, "n" .. n, raise))
              is("parallel", values[n], pcall(parallel, {{ raise, function() end }}))
              is("coroutine.wrap", values[n], pcall(coroutine.wrap(raise)))
              is("require", values[n], pcall(function() package.preload.fails = raise require "fails" end))
              is("coroutine.resume", values[n], coroutine.resume(coroutine.create(function() parallel {{ raise }} end)))
              is("xpcall", values[n], xpcall(parallel, function(e) return e end, {{ raise }}))
              local closing = coroutine.create(function()
                local x <close> = setmetatable({{}}, {{ __close = raise }})
                coroutine.yield()
              end)
              coroutine.resume(closing)
              is("coroutine.close", values[n], coroutine.close(closing))
            end
            local e = {{}}
            local function raise() error(e) end
            local parent = base:branch("parent", function() end)
            is("after an operation", e, pcall(base.branch, base, "a", function(guest) guest:run "true" raise() end))
            is("branches", e, pcall(base.branches, base, {{ b = raise }}))
            is("nested", e, pcall(function() parent:branch("c", raise) end))
            is("in parallel", e, pcall(parallel, {{ function() base:branch("d", raise) end }}))
            is("in a coroutine", e, pcall(coroutine.wrap(function() base:branch("e", raise) end)))
            is("caught in the step", e, pcall(base.branch, base, "f", function() error(select(2, pcall(raise))) end))
            print(count)
            "#
        ))
        .args(["run", "script.lua"])
        .stdout("69\n")
        .any_stderr()
        .run();
}

#[test]
fn of_several_failures_an_error_holds_what_each_raised() {
    Test::new()
        .script(&format!(
            r#"
            {BASE}
            local one, two = {{ 1 }}, {{ 2 }}
            local ok, e = pcall(base.branches, base, {{
              a = function() error(one) end,
              b = function() end,
              c = function() error(two) end,
            }})
            print(type(e), #e.failures, e.failures[1] == one, e.failures[2] == two)
            local _, again = pcall(error, e)
            print(rawequal(e, again))
            _, again = pcall(parallel, {{ function() error(e) end }})
            print(rawequal(e, again))
            _, again = pcall(parallel, {{ function() error(e) end, function() error("three", 0) end }})
            print(#again.failures, rawequal(again.failures[1], e), again.failures[2])
            error(e)
            "#
        ))
        .args(["run", "script.lua", "--quiet"])
        .status(1)
        .stdout("userdata\t2\ttrue\ttrue\ntrue\ntrue\n2\ttrue\tthree\n")
        .stderr(
            "error: script.lua:4: the script raised a table: { 1 }\n\
             error: script.lua:6: the script raised a table: { 2 }\n",
        )
        .run();
}

#[test]
fn an_error_of_ours_has_fields_and_keeps_its_exit_code() {
    let lab = Test::new();
    lab.script(&format!(
        r#"
        {BASE}
        local ok, e = pcall(base.branch, base, "web", function(guest)
          guest:run("sleep 60", {{ timeout = 0.1 }})
        end)
        print(e.kind, e.place, e.failures)
        print(e.hint)
        print(e.message)
        print(tostring(e):find("timed out", 1, true) ~= nil, ("it: " .. e):sub(1, 15), (e .. "!"):sub(-1))
        print(select(2, pcall(function() return e.code end)))
        print(select(2, pcall(function() e.kind = 1 end)))
        local _, again = pcall(error, e)
        print(rawequal(e, again))
        coroutine.wrap(function() error(e) end)()
        "#
    ))
    .args(["run", "script.lua", "--quiet"])
    .status(124)
    .stdout(
        "timeout\tscript.lua:3\tnil\nraise the option `timeout`, such as timeout = \"30m\"\nrun \"sleep 60\" timed out after 100ms in `web`\ntrue\tit: script.lua:\t!\n\
         script.lua:9: an error has no `code`\nhint: it has: message, hint, kind, place, failures\n\
         script.lua:10: `kind` of an error cannot be set\ntrue\n",
    )
    .stderr("error: script.lua:3: run \"sleep 60\" timed out after 100ms in `web`\nhint: raise the option `timeout`, such as timeout = \"30m\"\n")
    .run();
}

#[test]
fn a_failed_step_keeps_what_it_raised() {
    let lab = Test::new();
    let ran = lab
        .script(&format!("{BASE}\nbase:branch('x', function(guest) guest:run 'true' error {{ code = 3 }} end)"))
        .args(["run", "script.lua", "--quiet"])
        .status(1)
        .stderr("error: script.lua:2: the script raised a table: { code = 3 }\n")
        .run();
    let log = ran.again().args(["log", "lab/x", "--failed"]).any_stdout().run().stdout;
    assert!(log.contains("script.lua:2: the script raised a table: { code = 3 }"), "{log}");
}

#[test]
fn handlers_close_methods_and_callbacks_are_luas() {
    Test::new()
        .script(
            r#"
            local function fails() error { code = 5 } end
            print(xpcall(fails, function(e) return "handled " .. e.code end))
            local text = select(2, xpcall(function() error("why", 0) end, debug.traceback))
            print((text:gsub("\n.*", "")), text:find("script.lua:3:", 1, true) ~= nil, text:find("stdlib", 1, true))
            print(debug.traceback({ 1 })[1], pcall(xpcall, fails, nil))
            local e = {}
            print(select(2, pcall(table.sort, { 3, 2, 1 }, function() error(e) end)) == e)
            print(select(2, pcall(string.gsub, "abc", ".", function() error(e) end)) == e)
            print(select(2, pcall(assert, false, e)) == e, pcall(assert, nil))
            do
              local made = setmetatable({}, { __gc = function() error("in a finalizer") end })
            end
            collectgarbage()
            local wrapped = coroutine.wrap(function()
              local x <close> = setmetatable({}, { __close = function(_, why) print("closed", why == e) end })
              error(e)
            end)
            print(select(2, pcall(wrapped)) == e)
            local ok, why = pcall(function()
              local x <close> = setmetatable({}, { __close = function() error("second", 0) end })
              error("first", 0)
            end)
            print(why)
            local x <close> = setmetatable({}, { __close = function(_, why) print(rawequal(why, e)) end })
            error(e)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout(
            "false\thandled 5\nwhy\ttrue\tnil\n1\tfalse\tbad argument #2 to 'xpcall' (function expected, got nil)\n\
             true\ntrue\ntrue\tfalse\tassertion failed!\nclosed\ttrue\ntrue\nsecond\ntrue\n",
        )
        .status(1)
        .stderr("error: script.lua:25: the script raised a table: {}\n")
        .run();
}

#[test]
fn a_script_that_calls_itself_without_end_is_at_fault_itself() {
    for (script, told) in [
        ("local function f() return 1 + f() end f()", "script.lua:1: stack overflow"),
        ("local function f() return pcall(f) end f() error('end', 0)", "script.lua:1: end"),
        (
            "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) return t[1]",
            "script.lua:1: C stack overflow",
        ),
        ("local e = setmetatable({}, {}) getmetatable(e).__tostring = function() return tostring(e) end error(e)", ""),
    ] {
        let ran = Test::new().script(script).args(["run", "script.lua"]).status(1).any_stderr().run();
        assert!(ran.stderr.starts_with(&format!("error: {told}")), "{script}: {}", ran.stderr);
        assert!(!ran.stderr.contains("bug in snaptree"), "{script}: {}", ran.stderr);
    }
}
