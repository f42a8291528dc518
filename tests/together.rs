//! What happens at the same time, and what is read from the host, on the fake hypervisor.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::support::{DISK, Test};

const LAB: &str = "
    local base = machine('lab', { image = image.file('disk.qcow2') }):root('base')
";

fn lab(script: &str) -> Test {
    Test::new().file("disk.qcow2", DISK).script(&format!("{LAB}{script}")).args(["run", "script.lua"])
}

#[test]
fn functions_run_at_the_same_time_and_return_what_they_made() {
    let ran = lab("
        local made = parallel {
          function() return base:branch('slow', function(guest) guest:run 'slow' end) end,
          named = function() return base:branch('quick', function(guest) guest:run 'quick' end) end,
        }
        print(made[1].name, made.named.name)
    ")
    .answers(json!([{ "command": "slow", "delay_ms": 300 }]))
    .stdout("slow\tquick\n")
    .any_stderr()
    .run();
    let built: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(": built")).collect();
    assert!(built.first().is_some_and(|line| line.starts_with("base")), "{}", ran.stderr);
    assert!(built.get(1).is_some_and(|line| line.starts_with("quick")), "{}", ran.stderr);
}

#[test]
fn nested_ones_keep_within_the_jobs() {
    let ran = lab("
        parallel {
          function()
            parallel {
              function() base:branch('a', function(guest) guest:run 'a' end) end,
              function() base:branch('b', function(guest) guest:run 'b' end) end,
            }
          end,
          function() base:branch('c', function(guest) guest:run 'c' end) end,
        }
    ")
    .args(["--jobs", "1"])
    .any_stderr()
    .run();
    let mut executed = ran.executed();
    executed.sort();
    assert_eq!(executed, ["a", "b", "c"]);
}

#[test]
fn one_failure_disturbs_no_other_branch_and_all_are_reported() {
    lab("
        parallel {
          function() base:branch('bad', function(guest) guest:run 'false' end) end,
          function() base:branch('good', function(guest) guest:run 'true' end) end,
          function() error('worse', 0) end,
        }
    ")
    .status(1)
    .stderr_contains("false")
    .stderr_contains("script.lua:6: worse")
    .stderr_contains("good: built")
    .run();
}

#[test]
fn parallel_says_what_it_takes() {
    lab("parallel(1)")
        .status(1)
        .stderr_contains(
            "script.lua:2: parallel takes a table of functions, not an integer\nhint: parallel { function()",
        )
        .run();
    lab("parallel { a = 1 }")
        .status(1)
        .stderr_contains("script.lua:2: parallel: `a` must be a function, not an integer\n")
        .run();
    lab("base:branch('child', function(guest) parallel { function() guest:run 'x' end } end)")
        .status(1)
        .stderr_contains(
            "parallel cannot be used inside a step: snaptree identifies a step by the order of its operations\n",
        )
        .run();
}

#[test]
fn the_host_is_read() {
    lab("
        print(host.read 'conf/my.cnf', host.env('HOME') ~= nil, host.env('NOPE', 'default'))
        print(table.concat(host.glob 'conf/*.cnf', ' '))
    ")
    .file("conf/my.cnf", "one")
    .file("conf/also.cnf", "two")
    .stdout("one\ttrue\tdefault\nconf/also.cnf conf/my.cnf\n")
    .any_stderr()
    .run();
    // Names and values are bytes, as Lua's texts are.
    let bytes = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string();
    let lab_of_bytes = lab("
        print(host.env('BYTES'):byte(1, -1))
        print(#host.glob 'bytes/\\xff*', host.read((host.glob 'bytes/?z')[1]))
    ")
    .env("BYTES", bytes(b"a\xff"));
    std::fs::create_dir(lab_of_bytes.path().join("bytes")).expect("a directory");
    std::fs::write(lab_of_bytes.path().join("bytes").join(bytes(b"\xffz")), "its content").expect("a file");
    lab_of_bytes.stdout("97\t255\n1\tits content\n").any_stderr().run();
    lab("host.read 'nope'")
        .status(1)
        .stderr_contains(
            "script.lua:2: host.read: cannot read `nope`: No such file or directory\n\
             hint: a path is relative to the directory in which snaptree was started\n",
        )
        .run();
    lab("host.env 'NOPE'")
        .status(1)
        .stderr_contains(
            "script.lua:2: host.env: `NOPE` is not set\nhint: host.env(\"NOPE\", \"...\") gives it a default\n",
        )
        .run();
}

fn rebuilt(first: &str, second: &str) -> String {
    let ran = lab(first).file("my.cnf", "port=1").any_stderr().run();
    let again = ran.again().file("my.cnf", "port=2").script(&format!("{LAB}{second}")).args(["run", "script.lua"]);
    let stderr = again.any_stderr().run().stderr;
    let line = stderr.lines().find(|line| line.starts_with("child: building")).unwrap_or("nothing was built");
    line.to_string()
}

#[test]
fn a_file_that_was_read_is_named_when_it_changed() {
    let script = "base:branch('child', function(guest) guest:write('/etc/my.cnf', host.read 'my.cnf') end)";
    assert_eq!(
        rebuilt(script, script),
        "child: building, because operation 1 of child: file my.cnf changed: e12f.. -> 6bfb..."
    );
}

const STAMPED: &str = "
    base:branch('web', function(guest) guest:run('echo ' .. host.read 'stamp') end)
    base:branches {
      conf = function(guest) guest:run 'true' guest:write('/etc/conf', 'built=' .. host.read 'stamp' .. ' port=1') end,
      other = function(guest) guest:run 'true' end,
    }
";

const WARNINGS: [&str; 3] = [
    "warning: operation 1 of web: run \"echo 1732331999\" differs from the last run in what looks like a time stamp or a \
     random value: `web` would be rebuilt every time\n",
    "hint: what the guest makes itself, such as $(date) in a command, is the same operation in every run; so is what comes \
     from `param`\n",
    "warning: operation 2 of conf: write /etc/conf, 23 bytes (7b143cc0) differs from the last run in what looks like a \
     time stamp or a random value: `conf` would be rebuilt every time\n",
];

#[test]
fn an_operation_that_chance_is_in_is_warned_of_once() {
    let first = lab(STAMPED).file("stamp", "1732331520").any_stderr().run();
    assert!(!first.stderr.contains("warning"), "{}", first.stderr);
    let plan = "base: cached
  |
  +- conf: stale (because: operation 2 of conf: file /etc/conf changed: 97a3.. -> 7b14..)
  +- other: cached
  +- web: stale (because: operation 1 of web: run \"echo 1732331999\" was \"echo 1732331520\")
";
    let again = || first.again().file("stamp", "1732331999");
    again().args(["plan", "script.lua"]).status(2).stdout(plan).stderr(&WARNINGS.concat()).run();
    let refusal = "error: something would be built\nhint: --frozen allows no build\n";
    let frozen = again().args(["run", "--frozen", "script.lua"]).status(1);
    frozen.stderr(&format!("{}{plan}{refusal}", WARNINGS.concat())).run();
    let [of_web, hint, of_conf] = WARNINGS;
    again()
        .args(["run", "script.lua"])
        .stderr(&format!(
            "base: cached.
{of_web}{hint}web: building, because operation 1 of web: run \"echo 1732331999\" was \"echo 1732331520\".
web: booted in [TIME].
web: 1: run \"echo 1732331999\"
web: 1: done in [TIME].
web: built in [TIME].
{of_conf}other: cached.
conf: building, because operation 2 of conf: file /etc/conf changed: 97a3.. -> 7b14...
conf: booted in [TIME].
conf: 1: run \"true\"
conf: 1: done in [TIME].
conf: 2: write /etc/conf, 23 bytes (7b143cc0)
conf: 2: done in [TIME].
conf: built in [TIME].
base (current)
  |
  +- conf
  +- other
  +- web
"
        ))
        .run();
    let quiet = again().file("stamp", "1732332000").args(["-q", "run", "script.lua"]);
    quiet.run();
}
