//! The shell around a command in the guest, which leaves its output and exit status in files.

use crate::agent::calls::SHELL;
use crate::hypervisor::Command;

const WRAPPER: &str = include_str!("wrapper.sh");
/// What the wrapper prints first when the command has ended, before its id; the beginning of its output follows.
const ENDED: &str = "ended";
/// The most output, in bytes, that this beginning holds in full; the wrapper has the same number.
pub const MOST_INLINE: usize = 500_000;

/// The names of a command and of those before it.
pub struct Names<'n> {
    /// The unique name of its files in the guest.
    pub id: &'n str,
    /// The commands whose results were received, so that their files can be removed.
    pub seen: &'n [String],
}

/// Returns the arguments of the shell that runs a command in the wrapper.
pub fn arguments(command: &Command, names: &Names<'_>, stdin: &str) -> Vec<String> {
    let mut args: Vec<String> = [SHELL, "-c", &wrapper(), "sh", names.id].map(str::to_string).to_vec();
    args.push(names.seen.join(" "));
    args.push(command.cwd.clone().unwrap_or_default());
    args.push(command.user.clone().unwrap_or_default());
    args.push(stdin.to_string());
    args.extend(command.words());
    args
}

/// The wrapper without its comments: the guest takes it letter by letter, and its agent logs it.
fn wrapper() -> String {
    let lines = WRAPPER.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Returns what the wrapper prints after its own line; `None` if it ended badly.
pub fn split_header<'o>(stdout: &'o [u8], id: &str) -> Option<&'o [u8]> {
    stdout.strip_prefix(format!("{ENDED} {id}\n").as_bytes())
}

/// Returns the common prefix of a command's files in the guest.
pub fn files(id: &str) -> String {
    format!("/run/snaptree-{id}")
}
