//! The process that attends the channel of a fork that is kept: ports outlive the command, and several processes are
//! served at once.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::lab::{Lab, is_root};

const LIMIT: Duration = Duration::from_secs(60);
const WEB: &str = r#"
    machine(MACHINE, { image = tiny {}, memory = "128MiB", network = "none" }):root("base"):branch("web", function(guest)
      guest:run "mkdir -p /srv/www; echo 'from the guest' >/srv/www/index.html; httpd -p 127.0.0.1:80 -h /srv/www"
      guest:wait_for_port(80)
    end)
"#;
/// Prints what runs the command.
const WAY: &str = "cat /proc/$PPID/comm";
const CHANNEL: &str = "snaptree-channe\n";

/// A lab with the snapshot.
fn lab(name: &str) -> Lab {
    let lab = Lab::new(name);
    lab.script(WEB).any_stderr().run();
    lab
}

/// Starts a fork that is kept; returns what is printed about it.
fn fork(lab: &Lab, options: &[&str]) -> Vec<String> {
    let path = format!("{}/web", lab.machine);
    let ran = lab.snaptree(&[&["fork", &path], options].concat()).any_stdout().any_stderr().run();
    ran.stdout.split_whitespace().map(str::to_string).collect()
}

fn begin(lab: &Lab, fork: &str, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(["-q", "-c", lab.uri, "exec", fork, "--", "sh", "-c", line])
        .env("SNAPTREE_STORE", &lab.store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn said(status: i32, stdout: &str, stderr: &str) -> (Option<i32>, String, String) {
    (Some(status), stdout.to_string(), stderr.to_string())
}

/// The process ids of attendants of this lab's forks.
fn attendants(lab: &Lab) -> Vec<String> {
    let is_one = |line: &str| line.contains("\0attend\0") && line.contains(&lab.machine);
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found =
        entries.filter(|entry| std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|it| is_one(&it)));
    found.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn page(address: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(LIMIT))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    connection.read_to_string(&mut page)?;
    Ok(page)
}

/// The directory of sockets.
fn sockets() -> PathBuf {
    let base = if is_root() { "/run".into() } else { std::env::var_os("XDG_RUNTIME_DIR").unwrap() };
    PathBuf::from(base).join("snaptree")
}

/// The files of a fork's attendant, by the uuid of its domain.
fn files_of(uuid: &str) -> Vec<PathBuf> {
    let name: String = uuid.trim().chars().filter(char::is_ascii_hexdigit).take(16).collect();
    ["sock", "json"]
        .map(|ending| sockets().join(format!("{name}.{ending}")))
        .into_iter()
        .filter(|it| it.exists())
        .collect()
}

#[test]
#[ignore = "needs QEMU"]
fn ports_of_a_kept_fork_outlive_the_command_that_opened_them() {
    let lab = lab("keeper");
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = service.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in service.incoming() {
            connection.unwrap().write_all(b"from the host").unwrap();
        }
    });
    let words = fork(&lab, &["--forward", "80", "--forward-back", &format!("{host}:5000")]);
    let [fork, address] = &words[..] else { panic!("{words:?}") };
    let uuid = lab.virsh(&["domuuid", fork]);
    assert_eq!(files_of(&uuid).len(), 2);
    assert!(page(address).unwrap().ends_with("from the guest\n"));
    let back = "nc 127.0.0.1 5000 </dev/null";
    assert_eq!(end(begin(&lab, fork, back)), said(0, "from the host", ""));
    let forks: serde_json::Value =
        serde_json::from_str(&lab.snaptree(&["forks", &lab.machine, "--json"]).any_stdout().run().stdout).unwrap();
    assert_eq!(forks[0]["forwards"], serde_json::json!([{ "guest": 80, "address": address }]));
    assert_eq!(forks[0]["forwards_back"], serde_json::json!([{ "host": host, "address": "127.0.0.1:5000" }]));

    // It holds nothing of what started it.
    let [attendant] = &attendants(&lab)[..] else { panic!("not one attendant") };
    let process = PathBuf::from("/proc").join(attendant);
    for stream in 0..3 {
        assert_eq!(std::fs::read_link(process.join(format!("fd/{stream}"))).unwrap(), PathBuf::from("/dev/null"));
    }
    assert_eq!(std::fs::read_link(process.join("cwd")).unwrap(), PathBuf::from("/"));
    assert_eq!(std::fs::read_to_string(process.join("comm")).unwrap(), "snaptree\n");
    let stat = std::fs::read_to_string(process.join("stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().to_string();
    assert_eq!(&session, attendant, "it leads a session of its own");

    // Killed under a command, it takes that along; the next command starts another, with the same ports.
    let running = begin(&lab, fork, "echo $$ >/run/begun; sleep 1000");
    let begun = begin(&lab, fork, "until [ -s /run/begun ]; do sleep 0.1; done");
    assert_eq!(end(begun).0, Some(0));
    assert!(Command::new("kill").args(["-9", attendant]).status().unwrap().success());
    let lost = "error: lost `sh -c echo $$ >/run/begun; sleep 1000` in the guest: the process that attends its channel has \
                ended\n";
    assert_eq!(end(running), said(1, "", lost));
    until("its ports are closed", || page(address).is_err());
    let gone = "for n in $(seq 100); do [ -e /proc/$(cat /run/begun) ] || exec cat /proc/$PPID/comm; sleep 0.1; done";
    assert_eq!(end(begin(&lab, fork, gone)), said(0, CHANNEL, ""));
    assert!(page(address).unwrap().ends_with("from the guest\n"));
    assert_eq!(end(begin(&lab, fork, back)), said(0, "from the host", ""));

    // A restart of the guest is seen by who waits, and served again.
    let restarting = begin(&lab, fork, "sleep 1; reboot -f; sleep 1000");
    let (status, _, stderr) = end(restarting);
    assert!(status == Some(1) && stderr.contains(": the guest restarted meanwhile"), "{stderr}");
    until("the guest is there again", || end(begin(&lab, fork, back)) == said(0, "from the host", ""));

    lab.snaptree(&["stop", fork]).any_stderr().run();
    assert_eq!((lab.processes(), files_of(&uuid)), (vec![], vec![]));
    assert_eq!(page(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn several_processes_use_one_channel_at_the_same_time() {
    let lab = lab("shared");
    let fork = fork(&lab, &[]).remove(0);
    assert_eq!(attendants(&lab), Vec::<String>::new());
    // All at once, while there is no attendant yet.
    let first: Vec<Child> = (0..5).map(|_| begin(&lab, &fork, &format!("sleep 1; {WAY}"))).collect();
    for child in first {
        assert_eq!(end(child), said(0, CHANNEL, ""));
    }
    assert_eq!(attendants(&lab).len(), 1);
    // What a killed process ran goes with it, and nothing else.
    let stays = begin(&lab, &fork, &format!("until [ -e /run/done ]; do sleep 0.1; done; {WAY}"));
    let mut killed = begin(&lab, &fork, "echo $$ >/run/killed; echo there; exec sleep 1000");
    killed.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let gone =
        "for n in $(seq 100); do [ -e /proc/$(cat /run/killed) ] || exec touch /run/done; sleep 0.1; done; exit 1";
    assert_eq!(end(begin(&lab, &fork, gone)), said(0, "", ""));
    assert_eq!(end(stays), said(0, CHANNEL, ""));
    let uuid = lab.virsh(&["domuuid", &fork]);
    lab.virsh(&["destroy", &fork]);
    until("the attendant ends with the domain", || attendants(&lab).is_empty());
    assert_eq!(files_of(&uuid), Vec::<PathBuf>::new());
    lab.assert_no_clone_is_left();
}
