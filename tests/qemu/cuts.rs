//! The program in a real guest is killed under each kind of request.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use super::lab::Lab;

#[test]
#[ignore = "needs QEMU"]
fn what_is_under_way_when_the_program_is_killed_is_lost_and_the_next_is_served() {
    let lab = Lab::new("cuts");
    let script = r#"
        local one = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base"):branch("one", function(guest)
          guest:run "true"
        end)
        local fork <close> = one:fork()
        local served = "snaptree-channe\n"
        local function server() return fork:run("cat /proc/$PPID/comm").stdout end
        local much = string.rep("0123456789abcde\n", 8 << 20)

        -- Between two requests: the second one is served as if nothing had been.
        pcall(fork.run, fork, "kill -9 $PPID")
        assert(server() == served)

        -- The program is killed once the file is there, which each request makes when it is under way.
        local function cut(name, act)
          fork:run "rm -f /run/begun /run/work"
          local result
          parallel {
            function() result = { pcall(act) } end,
            function() pcall(fork.run, fork, "until [ -e /run/begun ]; do sleep 0.05; done; kill -9 $PPID") end,
          }
          print(name, result[1], (tostring(result[2]):gsub("^script.lua:%d+: ", ""):gsub("\n.*", "")))
          assert(server() == served, name)
        end
        cut("a command", function() fork:run "touch /run/begun; exec sleep 1003" end)
        cut("its input", function() fork:run("head -c 1; touch /run/begun; sleep 1; cat", { stdin = much }) end)
        cut("its output", function() fork:run "touch /run/begun; yes" end)
        fork:run "mkfifo /run/pipe"
        fork:run "(exec 3<>/run/pipe; echo some >&3; sleep 1; touch /run/begun; sleep 1000) >/dev/null 2>&1 &"
        cut("a file read", function() return fork:read "/run/pipe" end)
        fork:run "killall sleep; (while [ ! -s /run/work ]; do sleep 0.01; done; touch /run/begun) >/dev/null 2>&1 &"
        cut("a file written", function() fork:write("/run/work", much) end)

        -- Nothing is left of them.
        print(fork:run("ps | grep -c '[s]leep 1003\\|[y]es$'", { check = false }).stdout)
    "#;
    let ran = lab.script(script).any_stdout().any_stderr().run();
    let cause = "the guest restarted meanwhile, or our program in it was killed";
    let lost = |line: &str| format!("lost `{line}` in the guest: {cause}");
    let ways = [
        ("a command", lost("touch /run/begun; exec sleep 1003")),
        ("its input", lost("head -c 1; touch /run/begun; sleep 1; cat")),
        ("its output", lost("touch /run/begun; yes")),
        ("a file read", format!("cannot read `/run/pipe` in the guest: {cause}")),
        ("a file written", format!("cannot write `/run/work` in the guest: {cause}")),
    ];
    let expected: String = ways.map(|(name, why)| format!("{name}\tfalse\t{why}\n")).concat();
    assert_eq!(ran.stdout, format!("{expected}0\n\n"));
    lab.assert_no_clone_is_left();
}
