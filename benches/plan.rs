//! What `plan` and a `run` that has nothing to build cost, by the number of nodes, on the fake hypervisor.
//!
//! `cargo bench --bench plan`. The ratio is the cost of one more node against that in the row above: 1 is linear.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const SIZES: [usize; 3] = [10, 100, 1000];
const ROUNDS: usize = 7;
/// The nodes of a group: one, and the others below it.
const GROUP: usize = 10;
const MACHINE: &str = "lab";

fn main() {
    println!("{:>6}  {:<5} {:>12} {:>14} {:>6}", "NODES", "", "TOTAL", "PER NODE", "RATIO");
    let mut before: [Option<(usize, Duration, f64)>; 2] = [None; 2];
    for nodes in SIZES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        grow(directory.path(), nodes);
        for (command, before) in ["run", "plan"].into_iter().zip(&mut before) {
            let mut times: Vec<Duration> = (0..ROUNDS).map(|_| timed(directory.path(), command)).collect();
            times.sort();
            let total = times[ROUNDS / 2];
            // What a run costs without any node is in the first row; the later ones are about what nodes add.
            let (added, more) = match before {
                Some((fewer, less, _)) => (nodes - *fewer, total.saturating_sub(*less)),
                None => (nodes, total),
            };
            let each = more.as_secs_f64() * 1e6 / added as f64;
            let ratio = before.filter(|(fewer, ..)| *fewer > SIZES[0]).map(|(.., last)| format!("{:.2}", each / last));
            let ratio = ratio.unwrap_or_else(|| "-".to_string());
            println!(
                "{nodes:>6}  {command:<5} {:>12} {:>14} {ratio:>6}",
                format!("{total:.1?}"),
                format!("{each:.0} µs")
            );
            *before = Some((nodes, total, each));
        }
    }
}

/// Makes the machine with all nodes of a script. Only the first group is built; the others are written like it into
/// the fake hypervisor's file, since their keys are the same.
fn grow(directory: &Path, nodes: usize) {
    write_script(directory, GROUP);
    timed(directory, "run");
    let file = directory.join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("a state")).expect("JSON");
    let snapshots = &mut state["domains"][MACHINE]["snapshots"];
    for group in 1..nodes / GROUP {
        for node in 0..GROUP {
            let mut copy = snapshots[name(0, node)].clone();
            if node > 0 {
                copy["parent"] = json!(name(group, 0));
                copy["document"]["metadata"]["attributes"]["parent"] = json!(name(group, 0));
            }
            snapshots[name(group, node)] = copy;
        }
    }
    std::fs::write(&file, state.to_string()).expect("a state");
    write_script(directory, nodes);
}

fn name(group: usize, node: usize) -> String {
    if node == 0 { format!("group-{group}") } else { format!("node-{group}-{node}") }
}

fn write_script(directory: &Path, nodes: usize) {
    let script = format!(
        r#"
        local root = machine("{MACHINE}", {{ image = require "images.tiny" {{}} }}):root("root")
        local function step(guest)
          for n = 1, 5 do
            guest:run("apt-get install package-" .. n)
          end
          guest:write("/etc/my.cnf", string.rep("port=3306\n", 20))
        end
        for group = 0, {} do
          local parent = root:branch("group-" .. group, step)
          local steps = {{}}
          for node = 1, {} do
            steps["node-" .. group .. "-" .. node] = step
          end
          parent:branches(steps)
        end
        "#,
        nodes / GROUP - 1,
        GROUP - 1,
    );
    std::fs::write(directory.join("bench.lua"), script).expect("a script");
}

/// Measures a command that succeeds: for `plan` that says that nothing would be built.
fn timed(directory: &Path, command: &str) -> Duration {
    let mut snaptree = Command::new(env!("CARGO_BIN_EXE_snaptree"));
    snaptree.current_dir(directory).args(["--connect", "fake:state.json", command, "bench.lua"]);
    for (variable, place) in [("SNAPTREE_STORE", "store"), ("SNAPTREE_CACHE", "cache")] {
        snaptree.env(variable, directory.join(place));
    }
    let started = Instant::now();
    let output = snaptree.stdin(Stdio::null()).output().expect("snaptree starts");
    let took = started.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took
}
