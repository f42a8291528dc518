//! Scripts as files: marks, line ends, bytes, and files that are no text.

use std::process::Command;

use crate::support::Test;

#[test]
fn a_mark_a_line_for_the_kernel_and_any_line_ends_are_luas() {
    for ends in ["\n", "\r\n", "\r"] {
        for begin in ["", "\u{feff}", "#!/usr/bin/env -S snaptree run\n", "\u{feff}#![[ snaptree\n"] {
            let first = 1 + begin.matches('\n').count();
            let script = format!(
                "{begin}local m = require 'm' -- a comment\nlocal text = [[a\nb]]\nprint(#text, m)\nerror('here')"
            );
            Test::new()
                .file(
                    "m.lua",
                    format!("{begin}-- a comment\nreturn select(2, pcall(error, 'in m', 1))").replace('\n', ends),
                )
                .file("script.lua", script.replace('\n', ends))
                .args(["run", "script.lua"])
                .status(1)
                .stdout("3\tin m\n")
                .stderr(&format!("error: script.lua:{}: here\n", first + 4 - 1 + 1))
                .run();
        }
    }
}

#[test]
fn empty_files_are_scripts_and_modules() {
    for script in ["", "\u{feff}", "#!snaptree", "\n", "-- nothing"] {
        Test::new().file("script.lua", script).args(["run", "script.lua"]).run();
    }
    Test::new().file("m.lua", "").script("print((require 'm'))").args(["run", "script.lua"]).stdout("true\n").run();
}

#[test]
fn strings_keep_their_bytes_and_errors_show_what_can_be_shown() {
    Test::new()
        .file("script.lua", b"print(#'\xe9\xff\0', #'\xc3\xa9') error('caf\xe9')")
        .args(["run", "script.lua"])
        .status(1)
        .stdout("3\t2\n")
        .stderr("error: script.lua:1: caf\u{fffd}\n")
        .run();
    Test::new()
        .file("script.lua", b"local x = \xe9")
        .args(["run", "script.lua"])
        .status(1)
        .stderr("error: script.lua:1: unexpected symbol near '<\\233>'\n")
        .run();
    let long = format!("local x = '{}' error(#x .. '')", "x".repeat(2 << 20));
    Test::new()
        .file("script.lua", long)
        .args(["run", "script.lua"])
        .status(1)
        .stderr("error: script.lua:1: 2097152\n")
        .run();
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    for (bytes, why) in [
        (&b"\x1bLua\x54\0"[..], "`script.lua` is compiled Lua\nhint: run its source: only text is loaded"),
        (b"\xff\xfep\0r\0", "`script.lua` is UTF-16\nhint: save it as UTF-8"),
    ] {
        let lab = Test::new().file("script.lua", bytes);
        for command in ["run", "plan"] {
            lab.again().args([command, "script.lua"]).status(1).stderr(&format!("error: {why}\n")).run();
        }
    }
    let lab = Test::new();
    lab.again()
        .args(["run", "none.lua"])
        .status(2)
        .stderr("error: cannot read the script `none.lua`: No such file or directory\n")
        .run();
    lab.again().args(["run", "."]).status(2).stderr("error: cannot read the script `.`: Is a directory\n").run();
}

#[test]
fn a_script_that_comes_through_a_pipe_is_read_once() {
    let lab = Test::new();
    let pipe = lab.path().join("pipe.lua");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let script = "machine('lab', { image = require 'images.tiny' {} }):root('base') print(param('n', 1))";
    let writer = std::thread::spawn(move || std::fs::write(pipe, script).unwrap());
    // A parameter makes it run twice, the first time as a plan.
    lab.args(["run", "--set", "n=2", "pipe.lua"]).stdout("2\n").any_stderr().run();
    writer.join().unwrap();
}

#[test]
fn lines_that_come_through_a_pipe_are_taken_like_a_script() {
    Test::new()
        .args(["repl"])
        .stdin("\u{feff}#!/usr/bin/env snaptree\r\nx = [[a\r\nb]]\r\n\r\nx\r\n#x\r\n")
        .stdout("a\nb\n3\n")
        .run();
    Test::new()
        .args(["repl"])
        .stdin(b"1\n'\xe9'\n")
        .status(1)
        .stdout("1\n")
        .stderr(
            "error: line 2 of the standard input is not UTF-8\n\
             hint: write bytes in strings as \"\\xNN\", or load a file with .load\n",
        )
        .run();
    Test::new().args(["eval", "\u{feff}#'abc'"]).stdout("3\n").run();
    Test::new()
        .file("of.lua", b"\xef\xbb\xbf#!lua\r-- \rlocal x = '\xe9'\r")
        .args(["repl"])
        .stdin(".load of.lua\nx\n")
        .stdout("\"\\xe9\"\n")
        .run();
}
