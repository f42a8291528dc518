//! What `plan` and a `run` that has nothing to build cost by the number of nodes: in memory on the fake hypervisor, and
//! on libvirt, there compared with `virsh snapshot-list --tree` of the same machine and in turns with it.
//!
//! `cargo bench --bench nodes [-- fake|libvirt]`. PER NODE is what the nodes cost that the smallest tree does not have,
//! GROWTH is that against the row above of the same command: 1 is linear. VIRSH is the total against virsh's.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{Machine, median, run, snaptree, timed, virsh};
use tempfile::TempDir;

/// The nodes besides the root.
const SIZES: [usize; 4] = [10, 40, 100, 1000];
const ROUNDS: usize = 15;
/// The nodes of a group: one, and the others below it.
const GROUP: usize = 10;
const SCRIPT: &str = "bench.lua";

fn main() -> Result<()> {
    let chosen = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    ensure!(chosen.as_deref().is_none_or(|chosen| ["fake", "libvirt"].contains(&chosen)), "`fake` or `libvirt`");
    let is_chosen = |place: &str| chosen.as_deref().is_none_or(|chosen| chosen == place);
    println!("{:<8}{:>6}  {:<5} {:>10} {:>10} {:>7} {:>6}", "", "NODES", "", "TOTAL", "PER NODE", "GROWTH", "VIRSH");
    if is_chosen("fake") {
        measure("fake", &Fake::new()?)?;
    }
    if is_chosen("libvirt") {
        measure("libvirt", &Real::new()?)?;
    }
    Ok(())
}

/// A machine whose tree grows. Its first two nodes are built; the others are written like them, since their steps are
/// the same and so are their keys.
trait Tree {
    fn machine(&self) -> &str;

    fn directory(&self) -> &Path;

    fn snaptree(&self, command: &str) -> Command;

    fn list(&self) -> Option<Command>;

    /// Adds a copy of the first node of its kind for each of these.
    fn copy(&self, nodes: &[(usize, usize)]) -> Result<()>;
}

struct Fake {
    directory: TempDir,
}

struct Real {
    machine: Machine,
    directory: TempDir,
}

fn measure(place: &str, tree: &impl Tree) -> Result<()> {
    write_script(tree, 1, 2)?;
    run(tree.snaptree("run"))?;
    let commands = ["run", "plan", "virsh"];
    let mut before: [Vec<(Duration, f64)>; 3] = Default::default();
    let mut there = vec![(0, 0), (0, 1)];
    for nodes in SIZES {
        let wanted = (0..nodes).map(|n| (n / GROUP, n % GROUP));
        let missing: Vec<_> = wanted.filter(|node| !there.contains(node)).collect();
        tree.copy(&missing)?;
        there.extend(missing);
        write_script(tree, nodes / GROUP, GROUP)?;
        let command = |name: &str| if name == "virsh" { tree.list() } else { Some(tree.snaptree(name)) };
        // This fails when something would be built.
        run(tree.snaptree("plan"))?;
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (name, times) in commands.iter().zip(&mut times) {
                times.extend(command(name).map(timed).transpose()?);
            }
        }
        let totals = times.map(|times| (!times.is_empty()).then(|| median(times)));
        for ((name, total), before) in commands.iter().zip(totals).zip(&mut before) {
            let Some(total) = total else { continue };
            let each = before
                .first()
                .map_or(0.0, |(least, _)| total.saturating_sub(*least).as_secs_f64() * 1e6 / (nodes - SIZES[0]) as f64);
            let growth = before.get(1..).and_then(<[_]>::last).map(|(_, last)| format!("{:.2}", each / last));
            let virsh = totals[2].map(|virsh| format!("{:.2}", total.as_secs_f64() / virsh.as_secs_f64()));
            println!(
                "{place:<8}{nodes:>6}  {name:<5} {:>10} {:>10} {:>7} {:>6}",
                format!("{total:.1?}"),
                if before.is_empty() { "-".to_string() } else { format!("{each:.0} µs") },
                growth.unwrap_or_else(|| "-".to_string()),
                virsh.unwrap_or_else(|| "-".to_string()),
            );
            before.push((total, each));
        }
    }
    Ok(())
}

fn name(group: usize, node: usize) -> String {
    if node == 0 { format!("group-{group}") } else { format!("node-{group}-{node}") }
}

/// Names another node and another parent where a text does, which is not within a file's path.
fn renamed(text: &str, group: usize, node: usize) -> String {
    let quotes = [('\'', '\''), ('"', '"'), ('>', '<')];
    let name_of = |text: &str, from: &str, to: &str| {
        quotes.iter().fold(text.to_string(), |text, (open, close)| {
            text.replace(&format!("{open}{from}{close}"), &format!("{open}{to}{close}"))
        })
    };
    name_of(&name_of(text, &name(0, 0), &name(group, 0)), &name(0, 1), &name(group, node))
}

fn write_script(tree: &impl Tree, groups: usize, group: usize) -> Result<()> {
    let script = format!(
        r#"
        local root = machine("{}", {{ image = require "images.tiny" {{}}, memory = "128MiB" }}):root("root")
        local function step(guest)
          for n = 1, 5 do
            guest:run("echo apt-get install package-" .. n)
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
        tree.machine(),
        groups - 1,
        group - 1,
    );
    std::fs::write(tree.directory().join(SCRIPT), script).context("cannot write the script")?;
    Ok(())
}

impl Fake {
    fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir().context("cannot make a temporary directory")? })
    }
}

impl Tree for Fake {
    fn machine(&self) -> &str {
        "lab"
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn snaptree(&self, command: &str) -> Command {
        let directory = self.directory();
        let mut snaptree = snaptree(&["--connect", "fake:state.json", command, SCRIPT]);
        snaptree.current_dir(directory);
        for (variable, place) in [("SNAPTREE_STORE", "store"), ("SNAPTREE_CACHE", "cache")] {
            snaptree.env(variable, directory.join(place));
        }
        snaptree
    }

    fn list(&self) -> Option<Command> {
        None
    }

    fn copy(&self, nodes: &[(usize, usize)]) -> Result<()> {
        let file = self.directory().join("state.json");
        let mut state: Value =
            serde_json::from_slice(&std::fs::read(&file).context("cannot use the state")?).context("it is not JSON")?;
        let snapshots = &mut state["domains"][self.machine()]["snapshots"];
        for (group, node) in nodes {
            let first = snapshots[name(0, usize::from(*node > 0))].to_string();
            snapshots[name(*group, *node)] =
                serde_json::from_str(&renamed(&first, *group, *node)).context("it is not JSON")?;
        }
        std::fs::write(&file, state.to_string()).context("cannot use the state")?;
        Ok(())
    }
}

impl Real {
    fn new() -> Result<Self> {
        Ok(Self {
            machine: Machine::new()?,
            directory: tempfile::tempdir().context("cannot make a temporary directory")?,
        })
    }
}

impl Tree for Real {
    fn machine(&self) -> &str {
        &self.machine.name
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn snaptree(&self, command: &str) -> Command {
        let mut snaptree = snaptree(&[command, SCRIPT]);
        snaptree.current_dir(self.directory());
        snaptree
    }

    fn list(&self) -> Option<Command> {
        Some(virsh(&["snapshot-list", self.machine(), "--tree"]))
    }

    fn copy(&self, nodes: &[(usize, usize)]) -> Result<()> {
        let dump = |node: &str| run(virsh(&["snapshot-dumpxml", "--security-info", self.machine(), node]));
        let first = [dump(&name(0, 0))?, dump(&name(0, 1))?];
        let mut lines = String::new();
        for (group, node) in nodes {
            let file = self.directory().join(format!("{}.xml", name(*group, *node)));
            std::fs::write(&file, renamed(&first[usize::from(*node > 0)], *group, *node))
                .context("cannot use a file")?;
            lines += &format!("snapshot-create {} {} --redefine\n", self.machine(), file.display());
        }
        let batch = self.directory().join("batch");
        std::fs::write(&batch, lines).context("cannot use a file")?;
        let started = Instant::now();
        let mut all = virsh(&["-q"]);
        let all = all.stdin(std::fs::File::open(batch).context("cannot use a file")?).stdout(Stdio::null());
        ensure!(all.status()?.success(), "virsh cannot put the snapshots in");
        println!("{:<8}{} snapshots put in with virsh in {:.1?}", "libvirt", nodes.len(), started.elapsed());
        Ok(())
    }
}
