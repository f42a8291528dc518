//! What happens at the same time, and what is read of the host, on the fake hypervisor.

use serde_json::json;

use crate::support::Test;

const LAB: &str = "
    local base = machine('lab', { image = image.file('disk.qcow2') }):root('base')
";

fn lab(script: &str) -> Test {
    Test::new().file("disk.qcow2", "raw").script(&format!("{LAB}{script}")).args(["run", "script.lua"])
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
fn one_failure_disturbs_nobody_and_all_are_told() {
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
        .stderr_contains("parallel cannot be used inside a step: a step is known by the order of its operations\n")
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

#[test]
fn an_operation_that_chance_is_in_is_told() {
    let script = |stamp: u64| format!("base:branch('child', function(guest) guest:run 'echo {stamp} > /stamp' end)");
    assert_eq!(
        rebuilt(&script(1_732_331_520), &script(1_732_331_999)),
        "child: building, because operation 1 of child: run \"echo 1732331999 > /stamp\" was \"echo 1732331520 > /stamp\" \
         (a time stamp or a random value? then it is another one in every run)."
    );
}
