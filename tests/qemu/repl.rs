//! A session at the prompt, on a real guest.

use std::time::{Duration, Instant};

use rexpect::session::PtySession;

use super::lab::Lab;
use crate::support::terminal;

const LIMIT: Duration = Duration::from_secs(100);

struct Prompt(PtySession);

impl Prompt {
    fn open(lab: &Lab, line: &str) -> Self {
        Self(terminal::open_within(&lab.snaptree(&[]), &format!("{line}; echo status $?"), LIMIT))
    }

    #[track_caller]
    fn see(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Types a line, and waits for its result and for the prompt after it.
    #[track_caller]
    fn line(&mut self, line: &str, seen: &str, place: &str) {
        terminal::type_in(&mut self.0, &format!("{line}\r"));
        self.see("\r\n");
        if !seen.is_empty() {
            self.see(seen);
        }
        self.see(place);
    }

    #[track_caller]
    fn key(&mut self, key: &str) {
        terminal::type_in(&mut self.0, key);
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_session_explores_fails_goes_back_keeps_and_becomes_a_script() {
    let lab = Lab::new("repl");
    let machine = &lab.machine;
    let mut prompt = Prompt::open(&lab, "$SNAPTREE repl");
    prompt.see("snaptree> ");
    prompt.line(
        &format!("local vm = machine('{machine}', {{ image = require 'images.tiny' {{}}, memory = '128MiB' }})"),
        "",
        "snaptree> ",
    );
    prompt.line("vm:root 'base'", &format!("<snapshot {machine}/base>"), "snaptree> ");
    prompt.line(&format!("use '{machine}/base'"), "booted in", &format!("{machine}/base> "));

    // Explore; output comes while the command runs.
    prompt.key("run 'echo one; sleep 3; echo two'\r");
    prompt.see("\r\none\r\n");
    let shown = Instant::now();
    prompt.see("two\r\n");
    assert!(shown.elapsed() > Duration::from_secs(1), "the first line came while the command ran");
    prompt.see("base+1> ");
    prompt.line("back()", "resumed in", "base> ");
    prompt.line("write('/root/kept', 'データ\\n')", "", "base+1> ");
    prompt.line("run 'echo in memory > /dev/shm/memory'", "", "base+2> ");

    // Fail, and revert: disk and memory are what they were.
    prompt.line("run 'rm /root/kept /dev/shm/memory; false'", "failed with exit status 1", "base+3> ");
    prompt.line("back()", "resumed in", "base+2> ");
    prompt.line("run 'cat /root/kept /dev/shm/memory'", "\r\nin memory\r\n", "base+3> ");
    prompt.line("back()", "resumed in", "base+2> ");
    prompt.line("snapshot 'kept'", &format!("<snapshot {machine}/kept>"), "kept> ");

    // A command that hangs is stopped at once, and the machine can be used.
    terminal::type_in(&mut prompt.0, "run 'sleep 600'\r");
    prompt.see("\r\n");
    std::thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    prompt.key("\u{3}");
    prompt.see("error: interrupted");
    prompt.see("kept+1?> ");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    prompt.line("run 'ps | grep -c \"[s]leep 600\" || true'", "0", "kept+2?> ");
    prompt.line("back(2)", "resumed in", "kept> ");
    prompt.line("run 'cat /dev/shm/memory >/root/second'", "", "kept+1> ");
    prompt.line("snapshot 'second'", &format!("<snapshot {machine}/second>"), "second> ");

    // Another way, and a dead end.
    prompt.line(&format!("revert '{machine}/kept'"), "resumed in", "kept> ");
    prompt.line("run 'test ! -e /root/second'", "", "kept+1> ");
    prompt.line(".save saved.lua", "wrote saved.lua", "kept+1> ");
    prompt.key("\u{4}");
    prompt.see("status 0");
    lab.assert_no_clone_is_left();

    let tree = "base\n  |\n  +- kept\n      |\n      +- second\n";
    assert_eq!(lab.virsh_tree(), tree);
    let cached = "base: cached.\nkept: cached.\nsecond: cached.\n";
    let again = lab.snaptree(&["run", "saved.lua"]).any_stderr().run();
    assert!(again.stderr.starts_with(cached), "{}", again.stderr);
    lab.snaptree(&["delete", machine, "--yes"]).any_stderr().run();
    lab.snaptree(&["run", "saved.lua"]).any_stderr().run();
    assert_eq!(lab.virsh_tree(), tree);
    lab.exec("second", &["cat", "/root/kept", "/root/second"]).stdout("データ\nin memory\n").any_stderr().run();
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_that_vanishes_leaves_a_prompt() {
    let lab = Lab::new("vanishes");
    let machine = &lab.machine;
    lab.script("machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root 'base'").any_stderr().run();
    let mut prompt = Prompt::open(&lab, "sh -c 'echo the pid is $$.; exec $0 $@' $SNAPTREE repl");
    prompt.see("the pid is ");
    let pid = prompt.see(".");
    prompt.see("snaptree> ");
    prompt.line(&format!("use '{machine}/base'"), "booted in", "base> ");
    let clone = lab.domains().into_iter().find(|domain| domain != machine).expect("a working fork");
    lab.virsh(&["destroy", &clone]);
    prompt.line("run 'true'", "error: ", "> ");
    prompt.line("revert()", "booted in", "base> ");
    prompt.line("run 'echo back'", "back", "base+1> ");
    // Ended as a whole, it leaves nothing either.
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().expect("kill").success());
    prompt.see("status 130");
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn many_operations_can_each_be_taken_back() {
    let lab = Lab::new("deep");
    let machine = &lab.machine;
    lab.script("machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root 'base'").any_stderr().run();
    let lines: String = (1..=20).map(|n| format!("run 'echo {n} >>/root/n'\n")).collect();
    let said = lab
        .snaptree(&["-q", "repl"])
        .stdin(format!(
            "use '{machine}/base'\n{lines}back(18)\nrun 'wc -l </root/n'\nback()\nsnapshot 'two'\nrun 'cat /root/n'\n"
        ))
        .any_stdout()
        .run();
    assert_eq!(said.stdout, format!("2\n<snapshot {machine}/two>\n1\n2\n"));
    lab.exec("two", &["cat", "/root/n"]).stdout("1\n2\n").any_stderr().run();
}

#[test]
#[ignore = "needs QEMU"]
fn a_failed_step_is_entered_mended_and_run_again() {
    let lab = Lab::new("retry");
    let machine = &lab.machine;
    lab.script("").any_stderr().run();
    let script = format!(
        r#"
        local vm = machine("{machine}", {{ image = require "images.tiny" {{}}, memory = "128MiB" }})
        mended = false
        vm:root("base"):branch("child", function(guest)
          guest:run "echo begun >/root/log"
          guest:run(mended and "echo done >>/root/log" or "echo broken >>/root/log; exit 3")
        end)
        "#
    );
    let test = lab.snaptree(&[]).script(&script);
    let line = "$SNAPTREE run --on-error repl script.lua; echo status $?";
    let mut prompt = Prompt(terminal::open_within(&test, line, LIMIT));
    prompt.see("failed with exit status 3");
    prompt.see("child (failed)+2?> ");
    prompt.line("run 'cat /root/log'", "begun\r\nbroken\r\n", "+3?> ");
    prompt.line("parent", &format!("<snapshot {machine}/base>"), "+3?> ");
    prompt.line("_G.mended = true", "", "+3?> ");
    prompt.key("retry()\r");
    prompt.see("child: built in");
    prompt.see("status 0");
    lab.assert_no_clone_is_left();
    lab.exec("child", &["cat", "/root/log"]).stdout("begun\ndone\n").any_stderr().run();
}
