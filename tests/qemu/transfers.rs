//! Large files of a real guest, through a disk that is attached for each.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::Lab;

const LIVE: &str = "machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root('base'):branch('one', function(guest)
    guest:run 'true'
end)";

/// A guest with a fork that stays, and a large file on the host.
struct Bench {
    lab: Lab,
    fork: String,
    here: tempfile::TempDir,
}

impl Bench {
    fn new(name: &str) -> Self {
        let lab = Lab::new(name);
        lab.script(LIVE).any_stderr().run();
        let ran = lab.snaptree(&["fork", &format!("{}/one", lab.machine)]).any_stdout().any_stderr().run();
        let here = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..40_000_123_u32).map(|n| (n ^ (n >> 9)) as u8).collect();
        fs::write(here.path().join("much"), bytes).unwrap();
        Self { lab, fork: ran.stdout.trim().to_string(), here }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// Runs a script with the fork's guest; returns what was traced and what was printed.
    fn traced(&self, lines: &str) -> (String, String) {
        let lines = lines.replace("HERE", self.here.path().to_str().unwrap());
        let script = format!("local guest = machine.open('{}'):guest()\n{lines}", self.fork);
        let trace = self.at("trace");
        let ran = self.lab.script(&script).env("SNAPTREE_TRACE", &trace).any_stdout().any_stderr().run();
        (fs::read_to_string(trace).unwrap(), ran.stdout)
    }

    fn disks(&self) -> Vec<String> {
        let table = self.lab.virsh(&["domblklist", &self.fork]);
        table.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect()
    }

    fn scratches(&self) -> Vec<PathBuf> {
        let directory = self.lab.store.join("transfers");
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    fn end(self) {
        self.lab.snaptree(&["stop", &self.fork]).any_stderr().run();
        self.lab.assert_no_clone_is_left();
    }
}

fn same(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}

#[test]
#[ignore = "needs QEMU"]
fn a_large_file_goes_by_a_disk_and_a_small_one_does_not() {
    let bench = Bench::new("large-file");
    let (trace, _) = bench.traced(
        "guest:push('HERE/much', '/root/much', { mode = '0640' }) guest:pull('/root/much', 'HERE/back')
         assert(guest:run('stat -c %a /root/much').stdout == '640\\n')
         guest:write('/root/small', 'small') assert(guest:read '/root/small' == 'small')",
    );
    assert_eq!(trace.matches("copy by a disk").count(), 2, "{trace}");
    assert!(!trace.contains("no disk for a file"), "{trace}");
    assert!(same(&bench.at("much"), &bench.at("back")));
    assert_eq!((bench.disks(), bench.scratches()), (vec!["vda".to_string()], vec![]));
    // What the guest refuses is said as ever.
    let (_, said) = bench.traced("print(pcall(guest.push, guest, 'HERE/much', '/no/where'))");
    assert!(said.contains("cannot write `/no/where` in the guest: No such file or directory"), "{said}");
    assert_eq!((bench.disks(), bench.scratches()), (vec!["vda".to_string()], vec![]));
    bench.end();
}

#[test]
#[ignore = "needs QEMU"]
fn what_a_killed_copy_leaves_goes_with_the_next_one() {
    let bench = Bench::new("killed-copy");
    let script = format!("machine.open('{}'):guest():push('{}', '/root/much')", bench.fork, bench.at("much").display());
    fs::write(bench.at("script.lua"), script).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(["-q", "-c", bench.lab.uri, "run", bench.at("script.lua").to_str().unwrap()])
        .env("SNAPTREE_STORE", &bench.lab.store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while bench.disks().len() == 1 {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (trace, _) = bench.traced("guest:push('HERE/much', '/root/much') guest:pull('/root/much', 'HERE/back')");
    assert_eq!(trace.matches("copy by a disk").count(), 2, "{trace}");
    assert!(same(&bench.at("much"), &bench.at("back")));
    assert_eq!((bench.disks(), bench.scratches()), (vec!["vda".to_string()], vec![]));
    bench.end();
}
