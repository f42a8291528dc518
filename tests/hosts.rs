//! Hosts, shells and terminals as they are: signals, pipes, directories and files that are not what one hopes for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rexpect::session::PtySession;
use serde_json::json;

use crate::support::{Ran, Test, repository, terminal};

const BASE: &str = "machine('lab', { image = require 'images.tiny' {} }):root 'base'";

fn lab() -> Ran {
    Test::new().script(BASE).args(["run", "script.lua"]).any_stderr().run()
}

/// A run whose only branch takes a while.
fn slow() -> Test {
    building(1500)
}

fn building(delay_ms: u64) -> Test {
    let answers = json!([{ "command": "wait", "delay_ms": delay_ms }]);
    let script = format!("{BASE}:branch('slow', function(guest) guest:run 'wait' end)");
    Test::new().answers(answers).script(&script).args(["run", "script.lua"]).any_stderr()
}

fn is_building(state: &serde_json::Value) -> bool {
    state.to_string().contains("lab.build-")
}

fn snapshots(ran: &Ran) -> String {
    ran.again().args(["list", "lab", "--name"]).any_stdout().run().stdout
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

#[track_caller]
fn see(session: &mut PtySession, text: &str) -> String {
    session.exp_string(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for signal in ["HUP", "INT", "TERM"] {
        let run = slow().in_shell(&format!("trap '' {signal}; exec \"$@\""));
        let ran = run.start().wait_for_state(is_building).signal(signal).finish();
        assert_eq!(snapshots(&ran), "base\nslow\n", "{signal}");
    }
}

#[test]
fn a_signal_that_was_not_ignored_ends_the_run_and_cleans_up() {
    for signal in ["HUP", "INT", "TERM"] {
        let run = slow().in_shell(&format!("exec env --default-signal={signal} \"$@\"")).status(130);
        let ran = run.start().wait_for_state(is_building).signal(signal).finish();
        assert!(ran.stderr.ends_with("error: interrupted\n"), "{}", ran.stderr);
        assert_eq!((snapshots(&ran).as_str(), ran.domains()), ("base\n", vec!["lab".to_string()]), "{signal}");
    }
}

#[test]
fn programs_are_waited_for_where_the_end_of_children_was_ignored() {
    let lab = lab();
    let edit = lab.again().args(["edit", "lab/base"]).env("EDITOR", "true");
    edit.in_shell("exec env --ignore-signal=CHLD \"$@\"").stderr("Snapshot `base` of `lab` is unchanged.\n").run();
}

#[test]
fn lines_from_a_pipe_that_stays_open_can_be_interrupted() {
    for signal in ["INT", "TERM"] {
        let line = format!(
            "coproc env --default-signal={signal} \"$@\"; echo 'print(7)' >&${{COPROC[1]}}; read -r <&${{COPROC[0]}}; \
             echo $REPLY; kill -{signal} $COPROC_PID; wait $COPROC_PID"
        );
        let repl = lab().again().args(["repl"]).in_shell(&line);
        repl.status(130).stdout("7\n").stderr("error: interrupted\n").run();
    }
}

#[test]
fn a_reader_that_has_gone_ends_a_run_without_a_word() {
    let endless = lab().again().script("while true do print 'x' end").args(["run", "script.lua"]);
    endless.in_shell("\"$@\" | head -n 1; exit ${PIPESTATUS[0]}").status(141).stdout("x\n").run();
    let lines = lab().again().args(["repl"]).stdin("print(1)\n".repeat(100_000));
    lines.in_shell("\"$@\" | head -n 1; exit ${PIPESTATUS[0]}").status(141).stdout("1\n").run();
    for write in ["io.write(n, '\\n')", "io.stdout:write(n, '\\n')", "io.output():write(n, '\\n')"] {
        let script = format!("for n = 1, math.huge do {write} end");
        let written = Test::new().script(&script).args(["run", "script.lua"]);
        written.in_shell("\"$@\" | head -n 1; exit ${PIPESTATUS[0]}").status(141).stdout("1\n").run();
    }
    let child = "print((io.popen('{ yes | head -n 1; } 2>&1'):read 'a'))";
    let child = Test::new().script(child).args(["run", "script.lua"]).stdout("y\n\n");
    child.run();
    let progress = slow().any_stdout().in_shell("\"$@\" 2>&1 | head -n 1; exit ${PIPESTATUS[0]}").status(141);
    let ran = progress.run();
    assert_eq!((snapshots(&ran).as_str(), ran.domains()), ("base\n", vec!["lab".to_string()]));
}

#[test]
fn a_reader_who_has_seen_enough_of_a_result_is_no_failure() {
    for command in [&["list", "lab"][..], &["tree"], &["info", "lab/base"], &["--help"]] {
        lab().again().args(command).in_shell("\"$@\" | true; exit ${PIPESTATUS[0]}").run();
    }
}

#[test]
fn output_that_has_no_room_is_an_error() {
    let full = "error: cannot write to the standard output: No space left on device\n";
    for command in [&["list", "lab"][..], &["tree"], &["info", "lab/base"], &["doctor"]] {
        lab().again().args(command).in_shell("\"$@\" >/dev/full").status(1).stderr(full).run();
    }
    let prints = lab().again().script("print 'x'").args(["run", "script.lua"]);
    prints.in_shell("\"$@\" >/dev/full").status(1).stderr(full).run();
    let writes = Test::new().script("io.write 'lost' print 'too'").args(["run", "script.lua"]);
    writes.in_shell("\"$@\" >/dev/full").status(1).stderr(full).run();
    lab().again().args(["--help"]).in_shell("\"$@\" >/dev/full").status(1).run();
    lab().again().args(["list", "lab"]).any_stdout().in_shell("\"$@\" 2>/dev/full").run();
}

#[test]
fn a_closed_stream_is_no_place_for_a_file() {
    for closed in ["0<&-", "1>&-", "2>&-", "<&- >&- 2>&-"] {
        let run = building(0).any_stdout().in_shell(&format!("\"$@\" {closed}"));
        assert_eq!(snapshots(&run.run()), "base\nslow\n", "{closed}");
    }
}

#[test]
fn a_question_that_cannot_be_answered_is_refused_and_waits_for_no_input() {
    let lab = lab();
    let line = "coproc sleep 60; \"$@\" <&${COPROC[0]}; code=$?; kill $COPROC_PID; exit $code";
    let refused = lab.again().args(["delete", "lab"]).in_shell(line).status(2);
    refused
        .stderr(
            "error: this would delete machine `lab` with its snapshot and the layers of that\n\
             hint: pass --yes to skip the confirmation\n",
        )
        .run();
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn a_signal_ends_a_question() {
    let lab = lab();
    let line = "sh -c 'echo the pid is $$.; exec $0 $@' $SNAPTREE delete lab; echo status $?";
    let mut session = terminal::open(&lab.again(), line);
    see(&mut session, "the pid is ");
    let pid = see(&mut session, ".");
    see(&mut session, "[y/N] ");
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().expect("kill").success());
    see(&mut session, "error: interrupted\r\nstatus 130\r\n");
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn a_home_and_a_cache_that_cannot_be_written_fail_nothing_that_needs_neither() {
    let nowhere = |test: Test| {
        let names = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"];
        let test = names.into_iter().fold(test, |test, name| test.env(name, "/dev/null"));
        let names = ["SNAPTREE_CACHE", "SNAPTREE_EMBED_ROOT", "SNAPTREE_STDLIB", "SNAPTREE_HISTORY"];
        names.into_iter().fold(test, |test, name| test.env(name, "/dev/null/x"))
    };
    let lab = nowhere(slow()).run();
    assert_eq!(snapshots(&lab), "base\nslow\n");
    for command in [
        &["tree"][..],
        &["info", "lab/slow"],
        &["exec", "lab/slow", "--", "true"],
        &["doctor"],
        &["plan", "script.lua"],
    ] {
        lab.again().args(command).any_stdout().run();
    }
    for command in [&["snapshot", "lab", "taken"][..], &["revert", "lab/taken", "--yes"], &["delete", "lab", "--yes"]] {
        lab.again().args(command).any_stderr().run();
    }
    lab.again().args(["images"]).no_connect().stdout("no images\n").run();
    lab.again().args(["repl"]).stdin("print(40 + 2)").stdout("42\n").run();
}

#[test]
fn directories_that_are_no_absolute_paths_are_not_used() {
    for value in ["", "here"] {
        let test = Test::new().script(BASE).args(["run", "script.lua"]).any_stderr();
        let test = ["XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]
            .into_iter()
            .fold(test, |test, name| test.env(name, value));
        let unnamed = ["SNAPTREE_CACHE", "SNAPTREE_STDLIB", "SNAPTREE_HISTORY"];
        let lab = unnamed.into_iter().fold(test, |test, name| test.env(name, "")).run();
        assert!(!lab.path().join("here").exists());
    }
}

#[test]
fn qemu_can_pass_through_every_new_directory_of_a_store_whatever_the_umask_is() {
    for umask in ["077", "000", "777"] {
        let test = slow();
        let store = test.path().join("a/b/c");
        let ran = test.env("SNAPTREE_STORE", &store).in_shell(&format!("umask {umask}; exec \"$@\"")).run();
        assert_eq!(snapshots(&ran), "base\nslow\n");
        let mut directory =
            fs::read_dir(store.join("machines")).expect("machines").next().expect("one").expect("it").path();
        assert!(fs::read_dir(&directory).expect("files").count() > 1);
        while directory != ran.path() {
            assert_eq!(mode(&directory), 0o711, "umask {umask}: {}", directory.display());
            directory.pop();
        }
    }
}

#[test]
fn what_is_recorded_of_failures_and_undone_changes_is_for_no_other_user() {
    let script = format!("{BASE}:branch('bad', function(guest) guest:run 'false' end)");
    let answers = json!([{ "command": "false", "status": 1 }]);
    let test = Test::new().answers(answers).script(&script).args(["run", "script.lua"]).any_status().any_stderr();
    let ran = test.in_shell("umask 000; exec \"$@\"").run();
    ran.again().args(["snapshot", "lab", "taken"]).any_stderr().in_shell("umask 000; exec \"$@\"").run();
    ran.again().args(["delete", "lab/taken", "--yes"]).any_stderr().in_shell("umask 000; exec \"$@\"").run();
    let machine =
        fs::read_dir(ran.path().join("store/machines")).expect("machines").next().expect("one").expect("it").path();
    let kept: Vec<_> = fs::read_dir(machine).expect("files").flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(!kept.is_empty());
    for directory in kept {
        assert_eq!(mode(&directory.path()), 0o700, "{}", directory.path().display());
    }
}

#[test]
fn a_directory_for_temporary_files_that_is_gone_is_not_missed() {
    for gone in ["/nowhere", "script.lua", ""] {
        let lab = Test::new().script(BASE).env("TMPDIR", gone).env("SNAPTREE_STORE", "");
        lab.again().connect("fake:").args(["run", "script.lua"]).any_stderr().run();
        let lab = lab.args(["run", "script.lua"]).any_stderr().run();
        let edit = lab.again().args(["edit", "lab/base"]).env("EDITOR", "true");
        edit.stderr("Snapshot `base` of `lab` is unchanged.\n").run();
    }
}

#[test]
fn a_history_that_is_of_no_use_is_told_once_and_the_prompt_works() {
    let lab = lab();
    fs::create_dir(lab.path().join("directory")).expect("a directory");
    fs::write(lab.path().join("garbage"), b"\xff\xfe\0\n").expect("a file");
    let told = |deed: &str, file: &str, cause: &str| {
        format!(
            "Cannot {deed} the history `{file}`: {cause}. What you type is not saved; set SNAPTREE_HISTORY to another \
             file.\r\n"
        )
    };
    let at = |name: &str| lab.path().join(name).display().to_string();
    for (file, what) in [
        ("/dev/null/x".to_string(), told("make", "/dev/null/x", "Not a directory")),
        (at("directory"), told("read", &at("directory"), "it is a directory")),
        (at("garbage"), told("read", &at("garbage"), "it is no text")),
        ("/dev/null".to_string(), String::new()),
    ] {
        let test = lab.again().env("SNAPTREE_HISTORY", &file);
        let mut session = terminal::open(&test, "$SNAPTREE repl; echo status $?");
        let before = see(&mut session, "> ");
        assert!(before.contains("Ctrl-D leaves.\r\n") && before.contains(&what), "{file}: {before}");
        assert!(!what.is_empty() || !before.contains("history"), "{before}");
        terminal::type_in(&mut session, "40 + 2\r");
        let after = see(&mut session, "42\r\n");
        assert!(!after.contains("history"), "{after}");
        see(&mut session, "> ");
        terminal::type_in(&mut session, "\u{4}");
        see(&mut session, "status 0");
    }
    assert_eq!(fs::read(lab.path().join("garbage")).expect("it is there"), b"\xff\xfe\0\n");
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_has_a_prompt() {
    let lab = lab();
    let mut session = terminal::open(&lab.again().env("TERM", "dumb"), "$SNAPTREE repl; echo status $?");
    see(&mut session, "snaptree> ");
    terminal::type_in(&mut session, "40 + 2\n");
    see(&mut session, "42\r\n");
    see(&mut session, "snaptree> ");
    terminal::type_in(&mut session, "\u{4}");
    see(&mut session, "status 0");
}

#[test]
fn any_locale_will_do() {
    for locale in ["C", "POSIX", "tr_TR.UTF-8", "no_SUCH.thing", ""] {
        let script = BASE.replace("'base'", "'Iı-データ'");
        let ran = Test::new().script(&script).env("LC_ALL", locale).args(["run", "script.lua"]);
        ran.any_stderr().run().again().args(["list", "lab", "--name"]).stdout("Iı-データ\n").run();
    }
}

#[test]
fn a_directory_that_is_gone_matters_only_to_what_is_in_it() {
    let lab = lab();
    let line = "mkdir gone && cd gone && rmdir ../gone && \"$@\"";
    let state = format!("fake:{}", lab.path().join("state.json").display());
    lab.again().connect(&state).args(["list", "lab", "--name"]).in_shell(line).stdout("base\n").run();
    let script = lab.path().join("script.lua");
    let run = lab.again().connect(&state).args(["run".as_ref(), script.as_os_str()]);
    run.in_shell(line).any_stderr().run();
    let gone = lab.again().connect(&state).args(["run", "script.lua"]).in_shell(line).status(2);
    gone.stderr("error: cannot read the script `script.lua`: No such file or directory\n").run();
}

#[test]
fn few_open_files_are_enough() {
    let ran = building(0).in_shell("ulimit -n 24; exec \"$@\"").run();
    assert_eq!(snapshots(&ran), "base\nslow\n");
}

#[test]
fn the_set_up_starts_libvirtd_below_a_process_that_reaps() {
    let setup = fs::read_to_string(repository().join(".ci/setup")).expect("the set-up");
    assert!(setup.contains("reaper=(tini -s -- libvirtd)") && !setup.contains("libvirtd -d"));
    assert!(setup.lines().any(|line| line.trim_start().starts_with("tini ")), "the package is installed");
}

#[test]
fn a_shell_that_allows_a_small_stack_is_enough() {
    lab().again().args(["tree"]).in_shell("ulimit -s 256; \"$@\"").any_stdout().run();
    building(0).in_shell("ulimit -s 256; \"$@\"").run();
}
