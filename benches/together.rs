//! What two branches take when they are built at the same time, compared with one of them: their steps sleep in the
//! guest.
//!
//! `cargo bench --bench together` builds a machine of its own and deletes it at the end.

mod support;

use std::time::Duration;

use anyhow::{Context, Result};
use support::{Machine, median, run, snaptree, timed};

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let machine = Machine::new()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let script = directory.path().join("bench.lua");
    // A step is another one in each round, so that its branch is built again.
    let write = |round: usize, branches: &[&str]| {
        let branches: String = branches.iter().map(|name| format!("{name} = step,")).collect();
        let script_of_round = format!(
            r#"
            local root = machine("{}", {{ image = require "images.tiny" {{}}, memory = "128MiB" }}):root("root")
            local function step(guest)
              guest:run("sleep 20; true {round}")
            end
            root:branches {{ {branches} }}
            "#,
            machine.name
        );
        std::fs::write(&script, script_of_round).context("cannot write the script")
    };
    let path = script.to_str().context("the path is not UTF-8")?;
    let build = || snaptree(&["run", "--jobs", "2", path]);
    write(0, &[])?;
    run(build())?;
    let (mut alone, mut both): (Vec<Duration>, Vec<Duration>) = Default::default();
    for round in 1..=ROUNDS {
        write(round, &["one"])?;
        alone.push(timed(build())?);
        write(round, &["two", "three"])?;
        both.push(timed(build())?);
    }
    let (alone, both) = (median(alone), median(both));
    let ratio = both.as_secs_f64() / alone.as_secs_f64();
    println!(
        "medians of {ROUNDS}, in turns: one branch {alone:.1?}, two at the same time {both:.1?}, ratio {ratio:.2}"
    );
    Ok(())
}
