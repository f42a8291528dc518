//! Scripts that do the same in other words: none of these changes builds anything.

use crate::support::{DISK, Ran, Test};

/// Two scripts with the same effect, and a file for each that needs one.
struct Pair {
    what: &'static str,
    before: &'static str,
    after: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const HEAD: &str = "local base = machine('lab', { image = image.file('disk.qcow2') }):root('base')\n";

const PAIRS: [Pair; 14] = [
    Pair {
        what: "a comment and blank lines",
        before: "base:branch('a', function(guest) guest:run 'x' end)",
        after: "-- what x is for\n\n\nbase:branch('a', function(guest)\n  guest:run 'x' -- here\nend)",
        files: &[],
    },
    Pair {
        what: "other names of variables",
        before: "base:branch('a', function(guest) local v = '1' guest:run('x ' .. v) end)",
        after: "base:branch('a', function(g) local version = '1' g:run('x ' .. version) end)",
        files: &[],
    },
    Pair {
        what: "a function for what was written out twice",
        before: "base:branch('a', function(guest) guest:run 'apt-get install x' guest:run 'apt-get install y' end)",
        after: "local function install(guest, name) guest:run('apt-get install ' .. name) end
                base:branch('a', function(guest) install(guest, 'x') install(guest, 'y') end)",
        files: &[],
    },
    Pair {
        what: "a loop for what was written out twice",
        before: "base:branch('a', function(guest) guest:run 'x 1' guest:run 'x 2' guest:run 'x 3' end)",
        after: "base:branch('a', function(guest) for n = 1, 3 do guest:run('x ' .. n) end end)",
        files: &[],
    },
    Pair {
        what: "a step that moved into a module",
        before: "base:branch('a', function(guest) guest:run 'x' end)",
        after: "base:branch('a', require('steps').x)",
        files: &[("steps.lua", "return { x = function(guest) guest:run 'x' end }")],
    },
    Pair {
        what: "branches for several calls of branch",
        before: "base:branch('a', function(guest) guest:run 'x' end) base:branch('b', function(guest) guest:run 'y' end)",
        after: "base:branches { b = function(guest) guest:run 'y' end, a = function(guest) guest:run 'x' end }",
        files: &[],
    },
    Pair {
        what: "another order of the branches",
        before: "base:branch('a', function(guest) guest:run 'x' end) base:branch('b', function(guest) guest:run 'y' end)",
        after: "base:branch('b', function(guest) guest:run 'y' end) base:branch('a', function(guest) guest:run 'x' end)",
        files: &[],
    },
    Pair {
        what: "another time limit",
        before: "base:branch('a', function(guest) guest:run('x', { timeout = '1m' }) end)",
        after: "base:branch('a', function(guest) guest:run('x', { timeout = '2h' }) end)",
        files: &[],
    },
    Pair {
        what: "a status that is no longer checked",
        before: "base:branch('a', function(guest) guest:run 'x' end)",
        after: "base:branch('a', function(guest) guest:run('x', { check = false }) end)",
        files: &[],
    },
    Pair {
        what: "another comment of the snapshot",
        before: "base:branch('a', function(guest) guest:run 'x' end, { comment = 'one' })",
        after: "base:branch('a', function(guest) guest:run 'x' end, { comment = 'two' })",
        files: &[],
    },
    Pair {
        what: "a file that moved on the host",
        before: "base:branch('a', function(guest) guest:push('old.cnf', '/etc/x') end)",
        after: "base:branch('a', function(guest) guest:push('new/x.cnf', '/etc/x') end)",
        files: &[("old.cnf", "same"), ("new/x.cnf", "same")],
    },
    Pair {
        what: "a file that is read instead of written out",
        before: "base:branch('a', function(guest) guest:write('/etc/x', 'same') end)",
        after: "base:branch('a', function(guest) guest:write('/etc/x', host.read 'x.cnf') end)",
        files: &[("x.cnf", "same")],
    },
    Pair {
        what: "an environment in another order",
        before: "base:branch('a', function(guest) guest:run('x', { env = { A = '1', B = '2' } }) end)",
        after: "local env = {} env.B = 2 env.A = '1' base:branch('a', function(guest) guest:run('x', { env = env }) end)",
        files: &[],
    },
    Pair {
        what: "parallel around what came one after the other",
        before: "base:branch('a', function(guest) guest:run 'x' end):branch('b', function(guest) guest:run 'y' end)
                 base:branch('c', function(guest) guest:run 'z' end)",
        after: "parallel {
                  function()
                    local a = base:branch('a', function(guest) guest:run 'x' end)
                    a:branch('b', function(guest) guest:run 'y' end)
                  end,
                  function() base:branch('c', function(guest) guest:run 'z' end) end,
                }",
        files: &[],
    },
];

fn prepare(test: Test, script: &str, pair: &Pair) -> Test {
    let test = pair.files.iter().fold(test, |test, (name, content)| test.file(name, content));
    test.file("disk.qcow2", DISK).script(&format!("{HEAD}{script}")).args(["run", "script.lua"]).any_stderr()
}

fn started(ran: &Ran) -> usize {
    ran.started().len()
}

#[test]
fn the_same_effect_in_other_words_builds_nothing() {
    for pair in &PAIRS {
        let first = prepare(Test::new(), pair.before, pair).run();
        assert!(started(&first) > 0, "{}", pair.what);
        let second = prepare(first.again(), pair.after, pair).run();
        assert_eq!(started(&second), started(&first), "{}: {}", pair.what, second.stderr);
        assert!(!second.stderr.contains("building"), "{}: {}", pair.what, second.stderr);
        let back = prepare(second.again(), pair.before, pair).run();
        assert_eq!(started(&back), started(&first), "back from {}: {}", pair.what, back.stderr);
    }
}
