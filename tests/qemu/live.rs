//! Live snapshots and forks of them, on real guests.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::lab::{CHANNEL, Lab};
use crate::support::Ran;

/// A root, and two generations with a process each whose memory alone knows a nonce.
const TREE: &str = r#"
    local base = machine(MACHINE, { image = tiny {}, memory = "128MiB" }):root "base"
    local one = base:branch("one", function(guest)
      guest:write("/root/disk", "on the disk")
      guest:run "setsid sh -c 'nonce=first-4711; while :; do echo $nonce >/run/told; sleep 1; done' </dev/null >/dev/null 2>&1 &"
    end)
    local two = one:branch("two", function(guest)
      guest:run "rm -f /run/told; sleep 3; grep -q first-4711 /run/told"
      guest:write("/dev/shm/second", "in memory")
    end)
"#;

/// Waits until the process says again what only its memory knows.
const ASK: &str = "rm -f /run/told; until [ -s /run/told ]; do sleep 0.1; done; cat /run/told";

fn digests(lab: &Lab) -> Vec<(std::path::PathBuf, String)> {
    let is_ram = |file: &Path| file.extension().is_some_and(|ending| ending == "ram" || ending == "devices");
    let digest = |file: std::path::PathBuf| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(&file).unwrap()).unwrap();
        (file, hasher.finalize().to_hex().to_string())
    };
    lab.files().into_iter().filter(|file| is_ram(file)).map(digest).collect()
}

fn script(lab: &Lab, more: &str) -> crate::support::Test {
    lab.script(&format!("{TREE}\n{more}")).any_stderr()
}

fn resumed(ran: &Ran, node: &str) -> bool {
    let is = |how: &str| ran.stderr.contains(&format!("{node}: {how} in "));
    assert!(is("resumed") != is("booted"), "{}", ran.stderr);
    is("resumed")
}

#[test]
#[ignore = "needs QEMU"]
#[expect(clippy::too_many_lines, reason = "one guest is too dear for several tests")]
fn guests_resume_in_branches_in_forks_and_in_the_machine_itself() {
    let lab = Lab::new("live");
    let ran = script(&lab, "").run();
    assert_eq!((resumed(&ran, "one"), resumed(&ran, "two")), (false, true));
    assert_eq!(lab.virsh_tree(), "base\n  |\n  +- one\n      |\n      +- two\n");
    let before = digests(&lab);
    assert_eq!(before.len(), 4, "RAM and devices of two snapshots: {before:?}");

    // Forks see what was in memory, keep their writes to themselves, and have the host's time.
    let forks = format!(
        r#"
        local forks = two:forks(2)
        local offset = 0
        for n, fork in ipairs(forks) do
          print(fork:run({{ "sh", "-c", "{ASK}" }}).stdout, fork:read "/dev/shm/second", fork:read "/root/disk")
          fork:write("/dev/shm/second", "fork " .. n)
          fork:write("/root/disk", "fork " .. n)
          offset = math.max(offset, math.abs(fork:time() - os.time()))
        end
        for _, fork in ipairs(forks) do
          print(fork:read "/dev/shm/second", fork:read "/root/disk")
        end
        print(offset < 5)
        "#
    );
    let seen = "first-4711\n\tin memory\ton the disk\n";
    let expected = format!("{seen}{seen}fork 1\tfork 1\nfork 2\tfork 2\ntrue\n");
    script(&lab, &forks).stdout(&expected).run();
    lab.assert_no_clone_is_left();
    assert_eq!(digests(&lab), before);

    // No guest believes it is the one that was frozen: each makes random numbers of its own, at once.
    let random = ["cat", "/proc/sys/kernel/random/uuid"];
    let mut numbers: Vec<String> =
        (0..2).map(|_| lab.exec("one", &random).any_stdout().any_stderr().run().stdout).collect();
    let others = r#"
        for _, fork in ipairs(one:forks(2, { identity = "new" })) do
          print(fork:run("cat /proc/sys/kernel/random/uuid /etc/hostname").stdout)
        end
    "#;
    numbers.push(script(&lab, others).any_stdout().run().stdout);
    let numbers = numbers.concat();
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let names: Vec<&&str> = numbers.iter().filter(|word| word.starts_with("tiny-")).collect();
    assert_eq!((numbers.len(), names.len()), (6, 2), "{numbers:?}");
    assert_eq!(numbers.iter().collect::<std::collections::BTreeSet<_>>().len(), 6, "{numbers:?}");
    // What was done is counted: for the builder of `two`, two commands and two forks.
    let info = lab.snaptree(&["info", &format!("{}/one", lab.machine)]).any_stdout().run().stdout;
    let resumed = "Resumed:        5 (clock set 5, generation id renewed 5, identity renewed 2)\n";
    assert!(info.contains(resumed), "{info}");

    // The machine itself, by our revert: the guest resumes, and the RAM in the file stays as it is.
    let path = format!("{}/two", lab.machine);
    lab.snaptree(&["revert", &path, "--yes"]).any_stderr().run();
    let look = "local guest = machine.open(MACHINE):guest() print(guest:read '/dev/shm/second')
        guest:write('/dev/shm/second', 'changed')";
    lab.script(look).stdout("in memory\n").any_stderr().run();
    // RAM that is taken of it now does not need the file that it began with.
    lab.snaptree(&["snapshot", &lab.machine, "later"]).any_stderr().run();
    lab.snaptree(&["revert", &path, "--yes"]).any_stderr().run();
    lab.script(look).stdout("in memory\n").any_stderr().run();
    // A resumed guest survives its reset button; QEMU itself did not always.
    lab.virsh(&["reset", &lab.machine]);
    lab.script("machine.open(MACHINE):guest():wait_until_succeeds('test ! -e /dev/shm/second', { timeout = '2m' })")
        .any_stderr()
        .run();
    lab.snaptree(&["revert", &format!("{}/later", lab.machine), "--yes"]).any_stderr().run();
    lab.script(look).stdout("changed\n").any_stderr().run();
    lab.exec("later", &["cat", "/dev/shm/second"]).stdout("changed").any_stderr().run();
    let after = digests(&lab);
    assert!(before.iter().all(|file| after.contains(file)), "{after:?}");

    // By virsh's: the disks, which were synced before.
    lab.virsh(&["snapshot-revert", &lab.machine, "two"]);
    assert_eq!(lab.virsh(&["domstate", &lab.machine]).trim(), "shut off");
    lab.virsh(&["start", &lab.machine]);
    let look = "local guest = machine.open(MACHINE):guest()
        print(guest:read '/root/disk', guest:run('ls /dev/shm/second', { check = false }).ok)";
    lab.script(look).stdout("on the disk\tfalse\n").any_stderr().run();
    lab.snaptree(&["delete", &lab.machine, "--yes", "--force"]).any_stderr().run();
    assert_eq!(lab.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "needs QEMU"]
fn the_command_of_a_fork_is_run_by_what_waited_in_its_memory() {
    let lab = Lab::new("waker");
    let ran = script(&lab, r#"one:branch("deeper", function(guest) guest:run "echo deeper >/run/deeper" end)"#).run();
    assert!(resumed(&ran, "deeper"));
    let deaf = r#"
        one:branch("deaf", function(guest)
          guest:run [[
            for process in /proc/[0-9]*; do
              case $(cat $process/comm) in snaptree-chan*) kill -9 ${process#/proc/} ;; esac
            done
            rm /run/snaptree-channel
          ]]
        end)
    "#;
    assert!(resumed(&script(&lab, deaf).env(CHANNEL, "agent").run(), "deaf"));
    let parent = "cat /proc/$PPID/comm";
    // Of a guest that booted, of one that was woken itself, of one into which the program has to be put again, and of
    // one whose agent does everything.
    for (snapshot, way, expected) in [
        ("one", "", "snaptree-channe"),
        ("deeper", "", "snaptree-channe"),
        ("deaf", "", "snaptree-channe"),
        ("one", "stream", "snaptree-channe"),
        ("deaf", "agent", "sh"),
        ("one", "agent", "sh"),
    ] {
        let before = now();
        let command = ["sh", "-c", &format!("{parent}; date +%s")];
        let said = lab.exec(snapshot, &command).env(CHANNEL, way).any_stdout().any_stderr().run();
        let (name, time) = said.stdout.trim_end().split_once('\n').unwrap();
        assert_eq!(name, expected);
        assert!((before - 2..=now() + 2).contains(&time.parse::<u64>().unwrap()), "{time} is not about {before}");
    }

    let all = ["sh", "-c", "cat; pwd; echo \"$A\"; echo wrong >&2; exit 7"];
    let path = format!("{}/one", lab.machine);
    let options = ["exec", &path, "--workdir", "/srv", "--env", "A=b  c", "--"];
    let missing = lab.snaptree(&[&options[..], &all].concat()).status(126).any_stderr().run();
    assert!(missing.stderr.ends_with("cannot enter `/srv`: no such directory\n"), "{}", missing.stderr);
    let options = ["exec", &path, "--workdir", "/dev/shm", "--env", "A=b  c", "--"];
    let ran = lab.snaptree(&[&options[..], &all].concat()).stdin("in\n").status(7);
    let ran = ran.stdout("in\n/dev/shm\nb  c\n").any_stderr().run();
    assert!(ran.stderr.ends_with("wrong\n"), "{}", ran.stderr);
    let much = ["sh", "-c", "wc -c; yes | head -c 2000000"];
    for input in [65_536, 65_537] {
        let expected = format!("{input}\n{}", "y\n".repeat(1_000_000));
        lab.exec("one", &much).stdin("x".repeat(input)).stdout(&expected).any_stderr().run();
    }
    let ran = lab.exec("one", &["no-such-program"]).status(127).any_stderr().run();
    assert!(ran.stderr.ends_with("no-such-program: not found\n"), "{}", ran.stderr);
    let of_user = ["exec", &path, "--user", "nobody", "--", "id", "-un"];
    lab.snaptree(&of_user).stdout("nobody\n").any_stderr().run();
    let endless = ["exec", &path, "--timeout", "2s", "--", "sleep", "600"];
    let ran = lab.snaptree(&endless).status(124).any_stderr().run();
    assert!(ran.stderr.ends_with("error: `sleep 600` in the guest timed out after 2s\n"), "{}", ran.stderr);
    lab.assert_no_clone_is_left();
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
#[ignore = "needs QEMU"]
fn forks_one_after_the_other_leave_nothing_behind() {
    let count = std::env::var("SNAPTREE_TEST_FORKS").map_or(5, |count| count.parse().unwrap());
    println!("{count} forks: SNAPTREE_TEST_FORKS chooses another number");
    let lab = Lab::new("many");
    script(&lab, "two:fork()").run();
    let (files, before) = (lab.files(), digests(&lab));
    let forks = format!(
        r#"
        for n = 1, {count} do
          local fork <close> = two:fork {{ require_live = true }}
          print(fork:forward(80))
          assert(fork:run({{ "sh", "-c", "{ASK}" }}).stdout == "first-4711\n", n)
        end
        "#
    );
    let limit = Duration::from_secs(60 + 10 * count);
    let ports = script(&lab, &forks).limit(limit).any_stdout().run().stdout;
    let ports: Vec<u16> = ports.lines().map(|port| port.parse().unwrap()).collect();
    assert_eq!(ports.len(), usize::try_from(count).unwrap());
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()), "a port is left");
    lab.assert_no_clone_is_left();
    assert_eq!((lab.files(), digests(&lab)), (files, before));
    assert_eq!(lab.processes(), Vec::<String>::new());
}

#[test]
#[ignore = "needs QEMU"]
fn a_new_identity_is_another_one_also_where_systemd_would_make_the_same() {
    let lab = Lab::new("identity");
    let script = r#"
        local one = machine(MACHINE, { image = tiny {}, memory = "128MiB" }):root("base"):branch("one", function(guest)
          guest:run [[echo same >/etc/machine-id]]
          guest:run [[printf '#!/bin/sh\necho same >/etc/machine-id\n' >/usr/bin/systemd-machine-id-setup]]
          guest:run [[chmod +x /usr/bin/systemd-machine-id-setup]]
        end)
        for _, fork in ipairs(one:forks(2, { identity = "new" })) do
          io.write(fork:read "/etc/machine-id")
        end
    "#;
    let told = lab.script(script).any_stdout().any_stderr().run().stdout;
    let ids: Vec<&str> = told.lines().collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{told}");
    assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit())), "{told}");
}

#[test]
#[ignore = "needs QEMU"]
fn a_fork_worth_keeping_becomes_a_branch() {
    let lab = Lab::new("kept");
    let keep = r#"
        local fork <close> = two:fork()
        fork:write("/root/more", "more")
        fork:write("/run/more", "more in memory")
        local kept = fork:snapshot("three", { comment = "worth it" })
        print(kept.live, kept.comment, kept.parent == two)
        fork:write("/root/more", "after")
        print(fork:read "/root/more")
    "#;
    script(&lab, keep).stdout("true\tworth it\ttrue\nafter\n").run();
    lab.assert_no_clone_is_left();
    let tree = "base\n  |\n  +- one\n      |\n      +- two\n          |\n          +- three\n";
    assert_eq!(lab.virsh_tree(), tree);
    lab.exec("three", &["sh", "-c", &format!("cat /root/more /run/more; {ASK}")])
        .stdout("moremore in memoryfirst-4711\n")
        .any_stderr()
        .run();
    // A step that does the same is that branch.
    let branch = r#"two:branch("three", function(guest)
        guest:write("/root/more", "more")
        guest:write("/run/more", "more in memory")
    end)"#;
    assert!(script(&lab, branch).run().stderr.contains("three: cached.\n"));
    let again = script(&lab, &keep.replace("after", "later")).status(1).run();
    assert!(again.stderr.contains("there is a snapshot `three`"), "{}", again.stderr);
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn forks_that_stay_are_reached_from_the_host_until_they_are_stopped() {
    let lab = Lab::new("stay");
    let serve = r#"one:branch("web", function(guest)
        guest:write("/srv/www/index.html", "hello from the guest\n")
        guest:run "httpd -p 8080 -h /srv/www"
        guest:wait_for_port(8080)
    end)"#;
    script(&lab, &serve.replace("guest:write", "guest:run 'mkdir -p /srv/www' guest:write")).run();
    let path = format!("{}/web", lab.machine);
    let files = lab.files();
    let forks = lab.snaptree(&["fork", &path, "-n", "2", "--forward", "8080"]).any_stdout().any_stderr().run();
    let forks: Vec<(&str, &str)> = forks.stdout.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert!(forks.len() == 2 && forks[0].1 != forks[1].1, "{forks:?}");
    for (_, address) in &forks {
        assert!(page(address).ends_with("hello from the guest\n"));
    }
    let info = lab.snaptree(&["info", &lab.machine, "--json"]).any_stdout().run().stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let shown: Vec<&str> = info["forks"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(forks.iter().all(|(name, _)| shown.contains(name)) && shown.len() == 2, "{info}");
    // Far less than the 128 MiB that each of the guests has.
    let memory = info["forks"][0]["memory"].as_u64().unwrap();
    assert!((1 << 20..100 << 20).contains(&memory), "{memory}");
    // Another command leaves them alone, and the machine is in use.
    lab.exec("web", &["true"]).any_stderr().run();
    let refused = lab.snaptree(&["delete", &lab.machine, "--yes"]).status(1).any_stderr().run();
    assert!(refused.stderr.contains("is in use"), "{}", refused.stderr);
    let (first, second) = (forks[0].0, forks[1].0);
    lab.snaptree(&["stop", first]).stderr(&format!("Stopped {first}.\n")).run();
    assert!(page(forks[1].1).ends_with("hello from the guest\n"));
    lab.snaptree(&["stop", &lab.machine]).stderr(&format!("Stopped {second}.\n")).run();
    lab.snaptree(&["stop", &lab.machine]).stderr(&format!("There is no fork of `{}`.\n", lab.machine)).run();
    lab.assert_no_clone_is_left();
    let is_no_count = |file: &std::path::PathBuf| !file.parent().unwrap().ends_with("restores");
    let (mut left, mut files) = (lab.files(), files);
    [&mut left, &mut files].into_iter().for_each(|files| files.retain(is_no_count));
    assert_eq!(left, files);

    // A fork goes with the process that has it, however that ends.
    let hold = "local fork <close> = one:fork() print 'there' fork:run 'sleep 600'";
    let running = script(&lab, hold).any_stdout().any_status().start();
    let started = Instant::now();
    while lab.domains().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "no fork was started");
        std::thread::sleep(Duration::from_millis(100));
    }
    running.signal("KILL").finish();
    let next = lab.snaptree(&["-v", "exec", &format!("{}/one", lab.machine), "--", "true"]).any_stderr().run();
    assert!(next.stderr.contains("left by a run that was killed"), "{}", next.stderr);
    lab.assert_no_clone_is_left();
}

/// Fetches what is served there.
fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
#[ignore = "needs QEMU"]
fn without_a_mapped_file_libvirt_saves_the_ram_or_there_is_none() {
    let lab = Lab::new("saved");
    let ran = script(&lab, "").env("SNAPTREE_LIVE", "saved").run();
    assert_eq!((resumed(&ran, "one"), resumed(&ran, "two")), (false, true));
    assert!(ran.stderr.contains("takes longer: SNAPTREE_LIVE is `saved`"), "{}", ran.stderr);
    let ask = ["sh", "-c", ASK];
    lab.exec("two", &ask).env("SNAPTREE_LIVE", "saved").stdout("first-4711\n").any_stderr().run();
    // What libvirt saved is of use where RAM can be mapped, too, and to virsh.
    lab.exec("two", &ask).stdout("first-4711\n").any_stderr().run();
    lab.virsh(&["snapshot-revert", &lab.machine, "two"]);
    assert_eq!(lab.virsh(&["domstate", &lab.machine]).trim(), "running");
    let look = "print(machine.open(MACHINE):guest():read '/dev/shm/second')";
    lab.script(look).stdout("in memory\n").any_stderr().run();
    // Without any, a fork boots from the disks.
    let path = format!("{}/two", lab.machine);
    let booted = lab.snaptree(&["-v", "exec", &path, "--", "cat", "/root/disk"]).env("SNAPTREE_LIVE", "no");
    let booted = booted.stdout("on the disk").any_stderr().run();
    assert!(booted.stderr.contains("): booted in "), "{}", booted.stderr);
}

#[test]
#[ignore = "needs QEMU"]
fn ram_that_does_not_fit_is_left_and_that_is_said() {
    let lab = Lab::new("misfit");
    script(&lab, "").run();
    let xml = lab.virsh(&["snapshot-dumpxml", &lab.machine, "two"]);
    let version = super::foreign::between(&xml, "fits.QEMU=\"", "\"").unwrap();
    let file = lab.store.join("two.xml");
    std::fs::write(&file, xml.replace(version, "/usr/bin/qemu 1.0.0")).unwrap();
    lab.virsh(&["snapshot-create", &lab.machine, "--redefine", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    let why = format!("its QEMU was /usr/bin/qemu 1.0.0, is now {version}");
    let path = format!("{}/two", lab.machine);
    let ran = lab.snaptree(&["-v", "exec", &path, "--", "cat", "/root/disk"]).stdout("on the disk").any_stderr().run();
    let note = format!("cannot resume `two` ({why}): booting from its disks.\n");
    assert!(ran.stderr.contains(&note), "{}", ran.stderr);
    let refused = lab.snaptree(&["fork", &path, "--require-live"]).status(1).any_stderr().run();
    assert!(
        refused.stderr.ends_with(&format!(
            "error: the guest of `two` would have to boot: {why}\n\
             hint: do not require a live fork, and it boots from its disks\n"
        )),
        "{}",
        refused.stderr
    );
    lab.assert_no_clone_is_left();
}
