//! The channel of a real guest: many requests at once, much output, and guests that cannot have it.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::{CHANNEL, Lab};

const LIVE: &str = r#"
    local one = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
"#;

#[test]
#[ignore = "needs QEMU"]
fn a_guest_does_many_things_at_once() {
    let lab = Lab::new("channel");
    let many = r#"
        local fork <close> = one:fork()
        local work = {}
        for n = 1, 100 do
          work[n] = function() return fork:run("sleep 2; cat; echo " .. n, { stdin = "in " }).stdout end
        end
        local before, results = os.time(), parallel(work)
        for n = 1, 100 do assert(results[n] == "in " .. n .. "\n", results[n]) end
        print(os.time() - before < 60)
        -- What is stopped is gone, and nothing else is.
        print(pcall(fork.run, fork, "sleep 1000 & sleep 1001", { timeout = "1s" }))
        print(fork:run("ps | grep 'sleep 100[01]' | grep -vc grep", { check = false }).stdout)
        -- Much more than any buffer holds, both ways.
        local much = string.rep("0123456789abcde\n", 1 << 20)
        print(#fork:run("cat", { stdin = much }).stdout == #much)
    "#;
    let ran = lab.script(&format!("{LIVE}{many}")).any_stdout().any_stderr().run();
    let (before, after) = ran.stdout.split_once(" in `one (fork ").unwrap();
    let timed_out = "script.lua:15: run \"sleep 1000 & sleep 1001\" timed out after 1s";
    assert_eq!(before, format!("true\nfalse\t{timed_out}"));
    assert!(after.ends_with(")`\nhint: raise the option `timeout`, such as timeout = \"30m\"\n0\n\ntrue\n"), "{after}");
    lab.assert_no_clone_is_left();

    // A fork that stays: from several processes at once.
    let forks = lab.snaptree(&["fork", &format!("{}/one", lab.machine)]).any_stdout().any_stderr().run().stdout;
    let fork = forks.trim().to_string();
    let begin = |line: &str| {
        Command::new(env!("CARGO_BIN_EXE_snaptree"))
            .args(["-q", "-c", lab.uri, "exec", &fork, "--", "sh", "-c", line])
            .env("SNAPTREE_STORE", &lab.store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let slow = begin("touch /run/slow; sleep 15; echo slow; exit 3");
    let until = "until [ -e /run/slow ]; do sleep 0.1; done; echo quick";
    let quick = begin(until).wait_with_output().unwrap();
    assert_eq!((quick.status.code(), quick.stdout), (Some(0), b"quick\n".to_vec()));
    let slow = slow.wait_with_output().unwrap();
    assert_eq!((slow.status.code(), slow.stdout), (Some(3), b"slow\n".to_vec()));

    // The host's process is killed: what it ran goes too, and the next one is served.
    let mut lost = begin("echo $$ >/run/lost; cat /proc/$PPID/comm; exec sleep 1002");
    let mut way = [0; 16];
    lost.stdout.as_mut().unwrap().read_exact(&mut way).unwrap();
    assert_eq!(&way, b"snaptree-channe\n");
    lost.kill().unwrap();
    lost.wait().unwrap();
    let gone = "for n in $(seq 100); do [ -e /proc/$(cat /run/lost) ] || exit 0; sleep 0.1; done; exit 1";
    let gone = begin(gone).wait_with_output().unwrap();
    assert!(gone.status.success(), "{gone:?}");

    // The guest stops under a command.
    let ended = begin("sleep 1000");
    std::thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    lab.snaptree(&["stop", &fork]).any_stderr().run();
    let ended = ended.wait_with_output().unwrap();
    let expected = "error: lost `sh -c sleep 1000` in the guest: the guest has stopped\n";
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), expected);
    assert!(ended.status.code() == Some(1) && started.elapsed() < Duration::from_secs(20));
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_signal_reaches_the_command_and_a_second_one_kills_it() {
    let lab = Lab::new("signals");
    lab.script(LIVE).any_stdout().any_stderr().run();
    let forks = lab.snaptree(&["fork", &format!("{}/one", lab.machine)]).any_stdout().any_stderr().run().stdout;
    let fork = forks.trim().to_string();
    let begin = |user: &str, line: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snaptree"))
            .args(["-q", "-c", lab.uri, "exec", "--user", user, &fork, "--", "sh", "-c", line])
            .env("SNAPTREE_STORE", &lab.store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        child
    };
    let send = |child: &std::process::Child, signal: &str| {
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    let cleans_up = "trap 'sleep 3; echo clean; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    for user in ["root", "nobody"] {
        let child = begin(user, cleans_up);
        send(&child, "TERM");
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout), (Some(3), b"clean\n".to_vec()), "{user}");
    }
    let child = begin("root", "echo ready; sleep 1003");
    send(&child, "HUP");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(129));

    let mut child = begin("root", "trap 'echo heard' TERM; echo ready; while :; do sleep 0.1; done");
    send(&child, "TERM");
    let mut heard = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"heard\n");
    send(&child, "TERM");
    let ended = child.wait_with_output().unwrap();
    // The shell says before that what the signal did to its child.
    assert!(ended.status.code() == Some(130) && ended.stderr.ends_with(b"error: interrupted\n"), "{ended:?}");
    let left = lab.snaptree(&["exec", &fork, "--", "sh", "-c", "ps | grep -v grep | grep -c 'sleep 100\\|heard'"]);
    left.stdout("0\n").status(1).run();
    lab.snaptree(&["stop", &fork]).any_stderr().run();
}

#[test]
#[ignore = "needs QEMU"]
fn waits_go_on_across_a_restart_and_leave_no_process() {
    let lab = Lab::new("await");
    let script = r#"
        machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base"):branch("child", function(guest)
          guest:run "(sleep 2; touch /root/before; sync; reboot -f) >/dev/null 2>&1 &"
          print(pcall(guest.wait_for_file, guest, "/run/never", { timeout = 40 }))
          guest:wait_for_file("/root/before")
          print(guest:run("ps | grep -c '[s]naptree-channel'").stdout)
        end)
    "#;
    let printed = lab.script(script).any_stdout().any_stderr().run().stdout;
    let timed_out = "false\tscript.lua:4: wait for file /run/never timed out after 40s in `child`";
    assert!(printed.starts_with(timed_out) && printed.ends_with("\n1\n\n"), "{printed}");
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_that_cannot_have_the_program_is_served_by_its_agent() {
    let lab = Lab::new("noexec");
    // The program finds no place to run from after the restart.
    let script = r#"
        machine(MACHINE, { image = tiny {}, memory = "128MiB" }):root("base"):branch("child", function(guest)
          for _, place in ipairs { "/run", "/dev/shm", "/tmp", "/var/tmp" } do
            guest:run("mkdir -p " .. place .. "; mount -t tmpfs -o noexec none " .. place)
          end
          pcall(guest.run, guest, [[for process in /proc/[0-9]*; do
            case $(cat $process/comm) in snaptree-chan*) kill -9 ${process#/proc/} ;; esac
          done]])
        end):branch("after", function(guest)
          guest:write("/root/file", "by the agent")
          print(guest:read "/root/file", guest:run("cat /proc/$PPID/comm").stdout)
        end)
    "#;
    let ran = lab.script(script).any_stdout().any_stderr().run();
    assert_eq!(ran.stdout, "by the agent\tsh\n\n");

    let alone = "machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root('base'):branch('alone', function(guest)
        guest:run 'true'
    end)";
    let ran = lab.script(alone).env(CHANNEL, "agent").any_stderr().run();
    let note = format!(
        "The guest agent of `{}` does everything, which is slower: {CHANNEL}=agent asks for that.\n",
        lab.machine
    );
    assert_eq!(ran.stderr.matches(&note.replacen("The", "the", 1)).count(), 1, "{}", ran.stderr);
}
