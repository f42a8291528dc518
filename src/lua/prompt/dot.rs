//! The commands that begin with a dot, which are not Lua.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Because, Error, Kind, Result};
use crate::lua::prompt::prompt::{At, Prompt};
use crate::lua::prompt::{help, recipe, words};
use crate::lua::runtime::ask::Answer;
use crate::name::MachineName;
use crate::tree;
use crate::tree::did_you_mean;

pub const RELOAD: &str = ".reload";

/// Each with its arguments and its effect.
pub const COMMANDS: [(&str, &str, &str); 9] = [
    (".help", "[NAME]", "show the commands, or explain NAME"),
    (".tree", "[MACHINE]", "draw the tree of the machine in use, of MACHINE, or of all"),
    (".journal", "", "list the operations since the snapshot of the working fork"),
    (".save", "FILE", "write a script that builds what was made here"),
    (".load", "FILE", "run a Lua file"),
    (RELOAD, "", "run the script of the command line again, building what changed"),
    (".jobs", "", "list the running forks and builders"),
    (".time", "LINE", "run a line and say how long it took"),
    (".quit", "", "leave; Ctrl-D does too"),
];

/// Says whether a line is one of the commands, or looks like one.
pub fn is_command(line: &str) -> bool {
    let mut letters = line.trim_start().chars();
    letters.next() == Some('.') && letters.next().is_some_and(|c| c.is_ascii_alphabetic())
}

/// Runs a line of any kind.
pub async fn carry_out(prompt: &Prompt, line: &str) -> Result<Answer> {
    let said = |text: String| Ok(Answer { text: Some(text), leaves: false });
    let line = line.trim();
    if let Some(asked) = line.strip_suffix('?').map(str::trim_end).filter(|asked| is_path(asked)) {
        return said(help::on_name(prompt, asked)?);
    }
    if !is_command(line) {
        let text = prompt.evaluate(line).await?;
        return Ok(Answer { text, leaves: prompt.is_retried() });
    }
    let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let command = known(command, argument)?;
    let context = prompt.context();
    match command {
        ".help" if argument.is_empty() => said(overview()),
        ".help" => said(help::on_name(prompt, argument)?),
        ".tree" => {
            let machine = match (argument, prompt.at()) {
                ("", at) => at.map(|at| at.work.of.machine.clone()),
                (name, _) => Some(MachineName::existing(name)?),
            };
            let context = prompt.at().map_or_else(|| context.clone(), |at| at.context);
            said(context.blocking(move |engine| words::drawn(engine, machine.as_ref())).await?)
        }
        ".journal" => said(journal(&prompt.here()?)),
        ".save" => said(recipe::save(prompt, Path::new(argument)).await?),
        ".load" => {
            prompt.load(&readable(argument)?, &[]).await?;
            Ok(Answer { leaves: prompt.is_retried(), ..Answer::default() })
        }
        RELOAD => {
            prompt.reload().await?;
            Ok(Answer::default())
        }
        ".jobs" => {
            let mut lines = Vec::new();
            for context in prompt.connections.all() {
                let clones = context.blocking(tree::own_clones).await?;
                lines.extend(clones.into_iter().map(|(domain, of)| format!("{domain}  of {of}")));
            }
            said(if lines.is_empty() { "nothing runs".to_string() } else { lines.join("\n") })
        }
        ".time" => timed(prompt, argument).await,
        _ => Ok(Answer { text: None, leaves: true }),
    }
}

/// Runs a line and says how long it took.
async fn timed(prompt: &Prompt, line: &str) -> Result<Answer> {
    let started = Instant::now();
    let answer = Box::pin(carry_out(prompt, line)).await?;
    let took = format!("took {:.3} s", started.elapsed().as_secs_f64());
    let text = answer.text.map_or_else(|| took.clone(), |text| format!("{text}\n{took}"));
    Ok(Answer { text: Some(text), ..answer })
}

/// Checks that a Lua file can be read.
fn readable(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    std::fs::metadata(&path)
        .because(|| format!("cannot read `{}`", path.display()))
        .map_err(|error| Error { kind: Kind::Usage, ..error })?;
    Ok(path)
}

/// Checks that a command exists and has the argument that it needs.
fn known(command: &str, argument: &str) -> Result<&'static str> {
    let Some((name, takes, _)) = COMMANDS.iter().find(|(name, ..)| *name == command) else {
        let others = || "`.help` lists the commands".to_string();
        return Err(Error::usage(format!("there is no command `{command}`")).hint(did_you_mean(
            command,
            COMMANDS.iter().map(|(name, ..)| *name),
            others,
        )));
    };
    match (takes.is_empty(), takes.starts_with('['), argument.is_empty()) {
        (false, false, true) => {
            Err(Error::usage(format!("{name}: {takes} is missing")).hint(format!("{name} {takes}")))
        }
        (true, _, false) => Err(Error::usage(format!("{name} takes nothing, not `{argument}`"))),
        _ => Ok(name),
    }
}

/// Says whether the text before a question mark is a name that `help` could know.
fn is_path(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:".contains(c))
}

fn overview() -> String {
    let width = COMMANDS.iter().map(|(name, takes, _)| name.len() + 1 + takes.len()).max().unwrap_or_default();
    let line = |(name, takes, does): &(&str, &str, &str)| {
        let command = format!("{name} {takes}");
        format!("{command:width$}  {does}")
    };
    let commands: Vec<String> = COMMANDS.iter().map(line).collect();
    format!("{}\n\nAll else is Lua: help() lists what there is, and NAME? explains NAME.", commands.join("\n"))
}

/// Lists the operations of the working fork.
fn journal(at: &At) -> String {
    let lines = at.work.lines();
    if lines.is_empty() {
        return format!("nothing was done since {}", at.work.place());
    }
    let line = |(n, (operation, is_untold)): (usize, &(String, bool))| {
        let mark = if *is_untold { "  (broken off, or after that)" } else { "" };
        format!("{}: {operation}{mark}", n + 1)
    };
    lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_from_lua() {
        for (line, is) in [(".tree", true), ("  .save x", true), (".5 + 1", false), ("...", false), ("x.y", false)] {
            assert_eq!(is_command(line), is, "{line}");
        }
    }

    #[test]
    fn a_wrong_command_is_refused() {
        for (command, argument, error) in [
            (".tre", "", "there is no command `.tre`\nhint: did you mean `.tree`?"),
            (".xyz", "", "there is no command `.xyz`\nhint: `.help` lists the commands"),
            (".save", "", ".save: FILE is missing\nhint: .save FILE"),
            (".jobs", "x", ".jobs takes nothing, not `x`"),
        ] {
            assert_eq!(known(command, argument).expect_err(command).to_string(), error);
        }
        assert_eq!(known(".tree", "").expect("a command"), ".tree");
    }
}
