//! Guests whose agent restarts, and input that comes while a command runs, on a real agent.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::lab::{CHANNEL, Lab};

#[test]
#[ignore = "needs QEMU"]
fn a_command_and_a_file_outlast_the_agent() {
    // Of commands before the last one, the agent leaves nothing.
    let leaves_nothing = r#"
        guest:run "true"
        guest:run("until [ $(ls /run | grep -c '^snaptree-.*[.]out') = 2 ]; do sleep 0.1; done", { timeout = "1m" })"#;
    for (way, more) in [("agent", leaves_nothing), ("", "")] {
        let lab = Lab::new("restart");
        let script = r#"
            machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base"):branch("child", function(guest)
              -- It ends under the command, which runs on and prints before and after.
              local got = guest:run("echo one; (sleep 1; killall qemu-ga) & sleep 4; echo two; exit 3", { check = false })
              print(got.status, got.stdout)
              -- It ends before it was asked how the command ended.
              local r = guest:run("(sleep 0.01; killall -9 qemu-ga) >/dev/null 2>&1 & echo quick; exit 4", { check = false })
              print(r.status, r.stdout)
              -- It ends while a file is written, and while it is read.
              guest:run "(sleep 1; killall -9 qemu-ga; sleep 4; killall -9 qemu-ga) >/dev/null 2>&1 &"
              local text = string.rep("0123456789abcdef", 400000)
              guest:write("/root/f", text)
              print(guest:read("/root/f") == text)
              MORE
              -- A guest that restarts is told from that.
              print((select(2, pcall(guest.run, guest, "sleep 1; reboot -f"))))
            end)"#;
        let printed =
            lab.script(&script.replace("MORE", more)).env(CHANNEL, way).any_stdout().any_stderr().run().stdout;
        let (before, lost) = printed.split_once("script.lua:").unwrap();
        assert_eq!(before, "3\tone\ntwo\n\n4\tquick\n\ntrue\n");
        let hint = "hint: `guest:reboot()` restarts a guest and waits for it";
        let killed = if way == "agent" { "" } else { ", or our program in it was killed" };
        let cause = format!("the guest restarted meanwhile{killed}");
        let expected = format!("lost `sleep 1; reboot -f` in the guest: {cause}\n{hint}\n");
        assert_eq!(lost.split_once(": ").unwrap().1, expected, "{way}");
    }
}

/// Begins `exec` with a pipe as its input.
fn begin(lab: &Lab, way: &str, command: &[&str]) -> Child {
    let path = format!("{}/one", lab.machine);
    let args = [&["-q", "-c", lab.uri, "exec", path.as_str(), "--"], command].concat();
    Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(args)
        .env("SNAPTREE_STORE", &lab.store)
        .env(CHANNEL, way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "needs QEMU"]
fn exec_begins_at_once_and_streams_its_input() {
    let lab = Lab::new("input");
    let one = "branch('one', function(guest) guest:run 'true' end)";
    lab.script(&format!("machine(MACHINE, {{ image = tiny {{}}, memory = '128MiB' }}):root('base'):{one}"))
        .any_stderr()
        .run();
    // Once by the program that waits in the guest's memory, and once by the agent.
    for way in ["", "agent"] {
        let child = begin(&lab, way, &["echo", "began"]);
        // Nothing is ever written, and the pipe is open until the end.
        let (output, _pipe) = finish(child, |_| {});
        assert_eq!(output, (Some(0), b"began\n".to_vec()), "{way}");

        // The second half comes after the first was read.
        let child = begin(&lab, way, &["sh", "-c", "read -r first; echo \"$first\"; cat; exit 7"]);
        let (output, _pipe) = finish(child, |child| {
            let mut first = [0; 6];
            let mut pipe = child.stdin.take().unwrap();
            pipe.write_all(b"early\n").unwrap();
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
            assert_eq!(&first, b"early\n");
            pipe.write_all(b"late").unwrap();
        });
        assert_eq!(output, (Some(7), b"late".to_vec()), "{way}");

        let bytes: Vec<u8> = (0..1_500_000u32).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
        let child = begin(&lab, way, &["md5sum"]);
        let (output, _pipe) = finish(child, |child| child.stdin.take().unwrap().write_all(&bytes).unwrap());
        let sum = Command::new("md5sum").stdin(std::fs::File::open(written(&lab, &bytes)).unwrap()).output().unwrap();
        assert_eq!(output, (Some(0), sum.stdout), "{way}");
    }
    lab.assert_no_clone_is_left();
}

/// Feeds a command and waits for its end; returns its exit code and output, and its input if that is still open.
fn finish(
    mut child: Child,
    feed: impl FnOnce(&mut Child),
) -> ((Option<i32>, Vec<u8>), Option<std::process::ChildStdin>) {
    feed(&mut child);
    let pipe = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    ((output.status.code(), output.stdout), pipe)
}

fn written(lab: &Lab, bytes: &[u8]) -> std::path::PathBuf {
    let file = lab.store.join("input");
    std::fs::write(&file, bytes).unwrap();
    file
}
