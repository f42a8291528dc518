//! What each further fork adds to the memory in use: twenty at once, of guests that do nothing.
//!
//! `cargo bench --bench memory` builds two Debian machines of its own and deletes them in the end: one that just booted, and
//! one with a MariaDB that was installed and runs. The second takes some minutes for `apt-get`.

mod support;

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use support::{Machine, build, build_live, run, snaptree};

const FORKS: u64 = 20;

fn main() {
    let (bare, database) = (Machine::new(), Machine::named("db"));
    build_live(&bare.name, "1GiB");
    let name = &database.name;
    build(&format!(
        r#"
        local root = machine("{name}", {{ image = require "images.debian" {{}}, memory = "1GiB" }}):root "base"
        root:branch("live", function(guest)
          require("mariadb").install(guest)
          guest:run "sleep 10"
        end)
        "#
    ));
    for (machine, what) in [(bare, "a guest that just booted"), (database, "a guest with a warm MariaDB")] {
        measure(&machine.name, what);
    }
}

fn measure(machine: &str, what: &str) {
    const MIB: u64 = 1 << 20;
    let live = format!("{machine}/live");
    let info = json(&["info", &live, "--json"]);
    let ram = std::fs::metadata(info["memory"].as_str().expect("a live snapshot")).expect("its RAM");
    let touched = ram.blocks() * 512;

    let before = available();
    let started = Instant::now();
    run(snaptree(&["-q", "fork", &live, "-n", &FORKS.to_string()]));
    let took = started.elapsed();
    std::thread::sleep(Duration::from_secs(10));
    let each = before.saturating_sub(available()) / FORKS;
    let forks = json(&["info", machine, "--json"])["forks"].as_array().expect("forks").clone();
    assert_eq!(forks.len() as u64, FORKS);
    let own: u64 = forks.iter().filter_map(|fork| fork["memory"].as_u64()).sum();
    run(snaptree(&["-q", "stop", machine]));

    println!("{what}, which has touched {} MiB of its 1 GiB: {FORKS} forks in {took:.1?}", touched / MIB);
    let percent = |bytes: u64| 100.0 * bytes as f64 / touched as f64;
    println!("  each adds {} MiB to the memory in use, {:.1} % of that", each / MIB, percent(each));
    println!("  of its own it has {} MiB, by `snaptree info`", own / FORKS / MIB);
}

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&run(snaptree(args))).expect("JSON")
}

/// What could be had without swapping, in bytes.
fn available() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable")).expect("MemAvailable");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}
