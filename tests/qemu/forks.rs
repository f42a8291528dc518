//! Forks of real guests: how they end, and what their guests find when they resume.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use super::lab::{CHANNEL, Lab, REMOVAL};

/// Builds a live snapshot `one`.
const LIVE: &str = r#"
    local one = machine(MACHINE, { image = tiny {}, memory = "128MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
"#;

#[test]
#[ignore = "needs QEMU"]
fn a_throw_away_fork_is_removed_although_no_command_waits_for_it() {
    let lab = Lab::new("removal");
    lab.script(LIVE).any_stderr().run();
    // Layers, RAM and what else domains have.
    let endings = ["qcow2", "ram", "devices", "nvram", "lock", "removal"];
    let is_meant = |file: &PathBuf| file.extension().is_some_and(|ending| endings.iter().any(|it| ending == *it));
    let files = || lab.files().into_iter().filter(is_meant).collect::<Vec<_>>();
    let before = files();
    let is_removed = || lab.processes_now().iter().all(|(_, line)| !line.contains(REMOVAL));
    // On a busy host, the removal may end before it is looked for.
    let is_left = (0..10).any(|_| {
        // A pipe ends with the command, also one that it has besides its output.
        let ran = lab.exec("one", &["echo", "out"]).in_shell("{ \"$@\" 3>&1 | cat; } 3>&1 | cat");
        ran.stdout("out\n").any_stderr().run();
        let is_left = !is_removed();
        // What lists or changes waits for it.
        lab.snaptree(&["forks", &lab.machine]).stdout("no forks\n").run();
        assert!(is_removed(), "a fork was still being removed");
        is_left
    });
    assert!(is_left, "no fork was removed by a process of its own");
    lab.assert_no_clone_is_left();
    assert_eq!(files(), before);

    let path = format!("{}/one", lab.machine);
    lab.exec("one", &["sh", "-c", "exit 3"]).status(3).any_stderr().run();
    lab.snaptree(&["delete", &path, "--yes"]).any_stdout().any_stderr().run();
    lab.snaptree(&["undo", &lab.machine, "--yes"]).any_stdout().any_stderr().run();
    lab.assert_no_clone_is_left();

    // Its process may be killed, as some runners of jobs do: the next command removes what is left.
    let killed = (0..10).any(|_| {
        lab.exec("one", &["true"]).any_stderr().run();
        let removal = lab.processes_now().into_iter().find(|(_, line)| line.contains(REMOVAL));
        let is_killed = |process: u32| Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
        removal.is_some_and(|(process, _)| is_killed(process).success()) && lab.domains().len() == 2
    });
    assert!(killed, "no removal lasted long enough to be killed");
    let left = lab.domains().into_iter().find(|name| name.contains(".fork-")).unwrap();
    let swept = lab.snaptree(&["-v", "exec", &path, "--", "true"]).any_stderr().run();
    let note = format!("removed `{left}`, left by a run that was killed");
    assert!(swept.stderr.contains(&note), "{}", swept.stderr);
    lab.assert_no_clone_is_left();
    assert_eq!(files(), before);
}

/// In a guest: connections to itself that stay open, by both of its addresses, which carry a word when they are asked.
const INSIDE: &str = r#"
use IO::Socket::INET;
my @pairs;
for my $address ("127.0.0.1", "10.0.2.15") {
    my $listener = IO::Socket::INET->new(LocalAddr => $address, Listen => 1) or die "listen: $!";
    my $one = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $listener->sockport) or die "connect: $!";
    push @pairs, [$one, scalar $listener->accept];
}
open my $ready, ">", "/run/ready" or die; close $ready;
open my $ask, "<", "/run/ask" or die; <$ask>;
my @told;
for (@pairs) { my ($one, $other) = @$_; syswrite($one, "word") or die "write: $!"; sysread($other, my $word, 4); push @told, $word; }
open my $told, ">", "/run/told" or die; print $told "@told\n"; close $told;
"#;

#[test]
#[ignore = "needs QEMU"]
fn a_connection_out_of_a_resumed_guest_is_reset_and_one_inside_goes_on() {
    let lab = Lab::new("connections");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = std::thread::spawn(move || listener.accept().unwrap());
    let script = format!(
        r#"
        local debian = require "images.debian"
        machine(MACHINE, {{ image = debian {{}}, memory = "512MiB" }}):root("base"):branch("one", function(guest)
          guest:write("/run/inside.pl", [[{INSIDE}]])
          guest:run "mkfifo /run/ask; setsid perl /run/inside.pl </dev/null >/run/inside.log 2>&1 &"
          guest:wait_until_succeeds "test -e /run/ready"
          guest:run [[setsid bash -c 'exec 3<>/dev/tcp/10.0.2.2/{port}; echo open >/run/open
            cat <&3; echo ended' </dev/null >/run/outside 2>&1 &]]
          guest:wait_until_succeeds "test -e /run/open"
        end)
        "#
    );
    lab.script(&script).any_stderr().run();
    let _other_end = accepted.join().unwrap();

    let ask = "until grep -q ended /run/outside; do sleep 0.1; done; cat /run/outside; echo >/run/ask
        until [ -s /run/told ]; do sleep 0.1; done; cat /run/told";
    lab.exec("one", &["sh", "-c", ask])
        .stdout("cat: -: Software caused connection abort\nended\nword word\n")
        .any_stderr()
        .run();
    let path = format!("{}/one", lab.machine);
    let kept = lab.snaptree(&["fork", &path, "--keep-connections"]).any_stdout().any_stderr().run().stdout;
    let look = format!("cat /run/outside; grep -ci ':{port:04X} 01 ' /proc/net/tcp");
    lab.snaptree(&["exec", kept.trim(), "--", "sh", "-c", &look]).stdout("1\n").any_stderr().run();
    lab.snaptree(&["stop", &lab.machine]).any_stderr().run();
    // The agent alone does the same.
    let ended = lab.exec("one", &["sh", "-c", ask]).env(CHANNEL, "agent").any_stdout().any_stderr().run().stdout;
    assert!(ended.ends_with("word word\n"), "{ended}");
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_whose_kernel_cannot_reset_connections_says_so() {
    let lab = Lab::new("unable");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        r#"
        local one = machine(MACHINE, {{ image = require "images.debian" {{}}, memory = "512MiB" }}):root("base")
          :branch("one", function(guest)
            guest:run "rm /lib/modules/*/kernel/net/ipv4/*_diag.ko*"
            guest:run [[setsid bash -c 'exec 3<>/dev/tcp/10.0.2.2/{port}; echo open >/run/open; cat <&3' </dev/null >/dev/null 2>&1 &]]
            guest:wait_until_succeeds "test -e /run/open"
          end)
        one:fork():close()
        "#
    );
    let ran = lab.script(&script).any_stderr().run();
    let note = "the connections that the guest of `one` had open are not reset: its kernel lacks \
                CONFIG_INET_DIAG_DESTROY or the module tcp_diag";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
}
