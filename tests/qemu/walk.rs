//! A long random walk over a small domain's tree: nothing that has a name is ever lost, nothing is left over.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::foreign::{Foreign, chain};
use super::lab::Lab;

const OPERATIONS: usize = 200;
const SEED: u64 = 20_261_123;
/// The most snapshots that are left to be booted at the end.
const MOST: usize = 12;

/// What identifies a state.
#[derive(Clone, Debug, PartialEq)]
struct State {
    marker: u32,
    is_running: bool,
}

#[derive(Clone, Debug)]
struct Taken {
    parent: Option<String>,
    marker: u32,
    /// Whether a revert gives a running guest.
    is_live: bool,
}

#[derive(Clone, Debug)]
enum Undo {
    State(State, Option<String>),
    Tree(BTreeMap<String, Taken>, Option<String>),
}

/// What ought to be.
#[derive(Clone, Debug)]
struct Model {
    tree: BTreeMap<String, Taken>,
    current: Option<String>,
    state: State,
    undo: Vec<Undo>,
}

/// Marsaglia's xorshift: the same walk for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one_of(&mut self, tree: &BTreeMap<String, Taken>) -> Option<String> {
        (!tree.is_empty()).then(|| tree.keys().nth(self.below(tree.len())).cloned()).flatten()
    }
}

impl Model {
    fn keep(&mut self, undo: Undo) {
        self.undo.push(undo);
    }

    fn delete(&mut self, name: &str, with_children: bool) {
        let mut doomed = BTreeSet::from([name.to_string()]);
        loop {
            let more: Vec<String> = self
                .tree
                .iter()
                .filter(|(name, taken)| {
                    !doomed.contains(*name) && taken.parent.as_ref().is_some_and(|it| doomed.contains(it))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() || !with_children {
                break;
            }
            doomed.extend(more);
        }
        let heir = self.tree[name].parent.clone();
        for name in &doomed {
            self.tree.remove(name);
        }
        for taken in self.tree.values_mut().filter(|taken| taken.parent.as_ref().is_some_and(|it| doomed.contains(it)))
        {
            taken.parent.clone_from(&heir);
        }
        if self.current.as_ref().is_some_and(|current| doomed.contains(current)) {
            self.current = heir;
        }
    }
}

/// One walk: the model beside the machine.
struct Walk<'a> {
    foreign: &'a Foreign<'a>,
    model: Model,
    random: Random,
    refused: usize,
}

impl Walk<'_> {
    /// Runs snaptree; says whether it did what it was asked. A refusal must have changed nothing.
    fn snaptree(&mut self, args: &[&str]) -> bool {
        let before = self.foreign.everything();
        let ran = self.foreign.lab.snaptree(args).any_status().any_stdout().any_stderr().run();
        if ran.status == 0 {
            return true;
        }
        let is_refusal =
            ran.stderr.contains("which libvirt would overwrite") || ran.stderr.contains("cannot get any deeper");
        assert!(ran.status == 1 && is_refusal, "{args:?}: {}", ran.stderr);
        assert_eq!(self.foreign.everything(), before, "{args:?} was refused and changed something");
        self.refused += 1;
        false
    }

    fn mark(&mut self, marker: u32) {
        self.foreign.sh(&format!("echo {marker} > /root/marker; sync"));
        self.model.state.marker = marker;
    }

    fn take(&mut self, n: usize) {
        if self.model.state.is_running && self.random.chance(70) {
            self.mark(u32::try_from(n).unwrap());
        }
        let (name, machine) = (format!("s{n:03}"), self.foreign.name.clone());
        let is_running = self.model.state.is_running;
        let (option, is_live) = match self.random.below(10) {
            0..=4 if is_running => (None, true),
            0..=6 if is_running => (Some("--disk-only"), false),
            7 | 8 => (Some("--internal"), is_running),
            _ => (None, is_running),
        };
        let mut args = vec!["snapshot", machine.as_str(), name.as_str()];
        args.extend(option);
        if self.snaptree(&args) {
            let taken = Taken { parent: self.model.current.clone(), marker: self.model.state.marker, is_live };
            self.model.tree.insert(name.clone(), taken);
            self.model.current = Some(name);
        }
    }

    fn revert(&mut self) {
        let Some(name) = self.random.one_of(&self.model.tree) else { return };
        let taken = self.model.tree[&name].clone();
        let path = self.foreign.path(&name);
        let wants_running = !taken.is_live && self.random.chance(15);
        let mut args = vec!["revert", path.as_str(), "--yes"];
        args.extend(wants_running.then_some("--running"));
        if self.snaptree(&args) {
            self.model.keep(Undo::State(self.model.state.clone(), self.model.current.clone()));
            self.model.state = State { marker: taken.marker, is_running: taken.is_live || wants_running };
            self.model.current = Some(name);
        }
    }

    fn delete(&mut self, with_children: bool) {
        let Some(name) = self.random.one_of(&self.model.tree) else { return };
        let path = self.foreign.path(&name);
        let mut args = vec!["delete", path.as_str(), "--yes"];
        args.extend(with_children.then_some("--children"));
        if self.snaptree(&args) {
            self.model.keep(Undo::Tree(self.model.tree.clone(), self.model.current.clone()));
            self.model.delete(&name, with_children);
        }
    }

    /// Takes the newest change back. Only what was done right before is, so that the model need not know how trees merge.
    fn undo(&mut self) {
        let Some(last) = self.model.undo.pop() else { return };
        let machine = self.foreign.name.clone();
        let (tree, current, state) = (self.model.tree.clone(), self.model.current.clone(), self.model.state.clone());
        if !self.snaptree(&["undo", &machine]) {
            self.model.undo.push(last);
            return;
        }
        match last {
            Undo::State(was, place) => {
                self.model.state = was;
                self.model.current = place;
                self.model.keep(Undo::State(state, current));
            }
            Undo::Tree(was, place) => {
                self.model.tree = was;
                self.model.current = place;
                self.model.keep(Undo::Tree(tree, current));
            }
        }
    }

    fn step(&mut self, n: usize) -> &'static str {
        let is_full = self.model.tree.len() >= MOST;
        match self.random.below(10) {
            0..=3 if !is_full => {
                self.model.undo.clear();
                self.take(n);
                "take"
            }
            0..=3 => {
                self.delete(false);
                "delete"
            }
            4 | 5 => {
                self.revert();
                "revert"
            }
            6 => {
                self.delete(false);
                "delete"
            }
            7 if self.model.tree.len() > MOST / 2 => {
                self.delete(true);
                "delete all below"
            }
            _ if !self.model.undo.is_empty() => {
                self.undo();
                "undo"
            }
            _ => {
                self.revert();
                "revert"
            }
        }
    }

    fn check(&self, what: &str) {
        let foreign = self.foreign;
        let named: BTreeSet<String> = foreign.snapshots().into_iter().collect();
        assert_eq!(named, self.model.tree.keys().cloned().collect(), "after {what}");
        assert_eq!(foreign.current(), self.model.current, "after {what}");
        let state = if self.model.state.is_running { "running" } else { "shut off" };
        assert_eq!(foreign.state(), state, "after {what}");
    }
}

#[test]
#[ignore = "needs QEMU"]
fn two_hundred_random_operations_lose_nothing_and_leave_nothing() {
    let seed = std::env::var("SNAPTREE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("the seed is {seed}: SNAPTREE_TEST_SEED chooses another");
    let lab = Lab::new("walk");
    let foreign = Foreign::new(&lab);
    foreign.start();
    foreign.sh("echo 0 > /root/marker; sync");
    let state = State { marker: 0, is_running: true };
    let model = Model { tree: BTreeMap::new(), current: None, state, undo: Vec::new() };
    let mut walk = Walk { foreign: &foreign, model, random: Random(seed), refused: 0 };
    for n in 1..=OPERATIONS {
        let what = walk.step(n);
        println!("{n}: {what}; {} snapshots, {:?}", walk.model.tree.len(), walk.model.state);
        walk.check(&format!("operation {n}, {what}"));
        if walk.model.state.is_running && n % 5 == 0 {
            assert_eq!(foreign.sh("cat /root/marker"), format!("{}\n", walk.model.state.marker), "after operation {n}");
        }
    }
    println!("{} operations were refused", walk.refused);
    assert!(walk.refused < OPERATIONS / 4);
    for (name, taken) in &walk.model.tree {
        lab.snaptree(&["exec", &foreign.path(name), "--", "cat", "/root/marker"])
            .stdout(&format!("{}\n", taken.marker))
            .run();
    }
    assert_eq!(left_over(&foreign), BTreeSet::new());
}

/// Lists the files that no disk, no snapshot, nothing kept for `undo` and nothing below those is.
fn left_over(foreign: &Foreign) -> BTreeSet<PathBuf> {
    let lab = foreign.lab;
    // A command that changes something removes what forks have left.
    if let Some(name) = foreign.snapshots().first() {
        foreign.snaptree(&["edit", &foreign.path(name), "--comment", "looked at"]);
    }
    let mut texts = vec![lab.virsh(&["dumpxml", "--inactive", &foreign.name]), lab.virsh(&["dumpxml", &lab.machine])];
    for machine in [&foreign.name, &lab.machine] {
        let names = lab.virsh(&["snapshot-list", machine, "--name"]);
        for name in names.lines().filter(|name| !name.is_empty()) {
            texts.push(lab.virsh(&["snapshot-dumpxml", machine, name]));
        }
    }
    let files = lab.files();
    let kept = files.iter().filter(|file| file.parent().unwrap().ends_with("undo"));
    texts.extend(kept.map(|file| std::fs::read_to_string(file).unwrap()));
    let named = |file: &PathBuf| texts.iter().any(|text| text.contains(file.to_str().unwrap()));
    let mut needed: BTreeSet<PathBuf> = files.iter().filter(|file| named(file)).cloned().collect();
    for file in needed.clone().iter().filter(|file| file.extension().is_none_or(|it| it != "ram" && it != "boot")) {
        needed.extend(chain(file));
    }
    // Of snapshots that are gone, the counts of what was done to their guests stay until `gc`.
    let is_in = |file: &PathBuf, directory: &str| file.parent().unwrap().ends_with(directory);
    // Each record of a file that was made is of one that is there.
    let is_record =
        |file: &PathBuf| is_in(file, "made") && std::fs::read_to_string(file).is_ok_and(|of| Path::new(&of).exists());
    let others =
        |file: &&PathBuf| is_record(file) || ["undo", "run", "restores"].iter().any(|directory| is_in(file, directory));
    files.iter().filter(|file| !needed.contains(*file) && !others(file)).cloned().collect()
}
