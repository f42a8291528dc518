//! `snaptree cp`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::cli::common::inside::Inside;
use crate::cli::common::session::Session;
use crate::error::{Error, Result};
use crate::hypervisor::Stream;
use crate::name::Target;
use crate::shell;
use crate::stop::Stop;
use crate::tree::{Copy, CopyOptions, GuestPath};
use crate::ui::Ui;

/// Copy files and directories between the host and a guest, as docker does
///
/// One of the two is NAME:PATH. NAME is a running fork or machine, or a snapshot to copy from, MACHINE/SNAPSHOT. A
/// directory is copied into one that is there, or under the new name; `DIR/.` is what is in it. `-` is an archive: of tar,
/// from the standard input or to the standard output.
#[derive(Args)]
pub struct Cp {
    /// Keep the owners; otherwise the copies belong to root in a guest, and to you on the host
    #[arg(short, long)]
    archive: bool,
    /// Stop after this time, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// NAME:PATH, PATH or -
    source: Place,
    /// PATH, NAME:PATH or -
    dest: Place,
}

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Guest(Target, String),
    Host(HostSide),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostSide {
    Path(PathBuf),
    /// The standard input or output.
    Standard,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Host(HostSide::Standard));
        }
        // A name may have a colon, and so may a path.
        let split = text.find(":/").or_else(|| text.find(':')).filter(|_| !text.starts_with(['/', '.']));
        Ok(match split {
            Some(colon) => Self::Guest(text[..colon].parse()?, text[colon + 1..].to_string()),
            None => Self::Host(HostSide::Path(text.into())),
        })
    }
}

impl Cp {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        match (&self.source, &self.dest) {
            (Place::Guest(target, from), Place::Host(to)) => self.copy(&session, target, |copy| match to {
                HostSide::Path(to) => copy.take(&GuestPath::new(from), to),
                HostSide::Standard => copy.pack(&GuestPath::new(from), &mut Stdout(ui)),
            }),
            (Place::Host(_), Place::Guest(Target::Snapshot(path), _)) => {
                let path = shell::last(path);
                Err(Error::usage(format!("{path} is a snapshot, which does not change"))
                    .hint(format!("start a fork with `snaptree fork {path}`, and copy into that")))
            }
            (Place::Host(from), Place::Guest(target, to)) => self.copy(&session, target, |copy| match from {
                HostSide::Path(from) => copy.give(from, &GuestPath::new(to)),
                HostSide::Standard => copy.unpack(&ui.read_stdin(), &GuestPath::new(to)),
            }),
            (Place::Guest(..), Place::Guest(..)) => {
                Err(Error::usage("both sides are in guests")
                    .hint("copy to the host first, or pipe one cp into another"))
            }
            (Place::Host(_), Place::Host(_)) => Err(Error::usage("neither side is in a guest")
                .hint("write NAME:PATH for one of them, as in `snaptree cp file MACHINE:/root`")),
        }?;
        Ok(0)
    }

    fn copy(&self, session: &Session, target: &Target, act: impl FnOnce(&Copy<'_>) -> Result<()>) -> Result<()> {
        let engine = &session.engine;
        let Inside { fork: _fork, guest } = Inside::open(engine, target, false)?;
        let stop = Stop::after(self.timeout, &engine.interrupt);
        let options = CopyOptions { keeps_owners: self.archive };
        act(&Copy { guest: &*guest, stop: &stop, options })
    }
}

struct Stdout<'u>(&'u Ui);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.pass_through(Stream::Stdout, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_in_a_guest_if_a_name_and_a_colon_come_first() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let guest = |name: &str, path: &str| Place::Guest(name.parse().unwrap(), path.to_string());
        assert_eq!(place("lab:/etc/hosts"), guest("lab", "/etc/hosts"));
        assert_eq!(place("lab/base:etc/a:b"), guest("lab/base", "etc/a:b"));
        assert_eq!(place("a:b:/x"), guest("a:b", "/x"));
        assert_eq!(place("lab:"), guest("lab", ""));
        for path in ["/a:b", "./a:b", "../a:b", "file"] {
            assert_eq!(place(path), Place::Host(HostSide::Path(path.into())));
        }
        assert_eq!(place("-"), Place::Host(HostSide::Standard));
    }
}
