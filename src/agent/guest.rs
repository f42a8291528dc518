//! What a guest is asked for, through its channel or its agent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::agent::agent::{Agent, PING};
use crate::agent::feed::Feed;
use crate::agent::transport::{Transport, TransportError};
use crate::agent::way::{self, Way};
use crate::agent::{file, forwards, guest_program, sockets, system};
use crate::channel::{ChannelTerminal, Source, Woken};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{
    Command, Condition, Connections, Console, Exit, FileMode, Forward, Guest, GuestEntry, Input, OpenForward, PathKind,
    Signals, Stream, UnitState, UnpackOptions, UnpackTarget,
};
use crate::stop::Stop;

const CANNOT_SYNC: &str = "cannot sync the guest's disks";
/// Prints the states of a unit until it is active or has failed.
const WATCH_UNIT: &str = include_str!("watch_unit.sh");
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl<T: Transport> Agent<T> {
    fn set_mode(&self, path: &str, mode: &FileMode, stop: &Stop) -> Result<()> {
        if let Some(owner) = &mode.owner {
            let failed = format!("cannot give `{path}` in the guest to `{owner}`");
            self.must(["chown", "--", owner, path], &failed, stop)?;
        }
        // Last, because `chown` clears the set-user-id bit.
        if let Some(bits) = mode.mode {
            let bits = format!("{bits:o}");
            let failed = format!("cannot set the mode of `{path}` in the guest to {bits}");
            self.must(["chmod", &bits, "--", path], &failed, stop)?;
        }
        Ok(())
    }

    fn boot_id(&self) -> Result<Vec<u8>, TransportError> {
        let file = file::File::open(&self.calls, BOOT_ID, "r")?;
        Ok(file.read()?.0)
    }

    /// Sends a shutdown, which an obedient guest leaves unanswered.
    fn send_shutdown(&self, mode: &str) -> Result<()> {
        let sent = self.request_shutdown(mode);
        sent.map_err(|error| file::failure(&format!("cannot {mode} the guest of `{}`", self.domain), &error))
    }

    fn request_shutdown(&self, mode: &str) -> Result<(), TransportError> {
        match self.calls.call("guest-shutdown", json!({ "mode": mode }), PING) {
            Ok(_) | Err(TransportError::NotConnected(_) | TransportError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reads what `systemctl is-active` says.
fn read_state(unit: &str, exit: Exit, stdout: &str, stderr: &str) -> Result<UnitState> {
    match stdout {
        "active" => Ok(UnitState::Active),
        "failed" => Ok(UnitState::Failed),
        "" if exit == Exit(127) => Err(Error::failed("`wait_for_unit` needs systemd in the guest")
            .cause("there is no `systemctl`")
            .hint("`wait_for_port` and `wait_until_succeeds` work in any guest")),
        "" => Err(Error::failed(format!("cannot ask systemd in the guest about `{unit}`")).cause(stderr.trim())),
        other => Ok(UnitState::Other(other.to_string())),
    }
}

impl<T: Transport> Guest for Agent<T> {
    fn wait_until_ready(&self, stop: &Stop) -> Result<()> {
        self.find(stop)
    }

    fn wait_until_booted(&self, stop: &Stop) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(120);
        // Without systemd there is no such command, which ends it as well.
        match self.ask(["systemctl", "is-system-running", "--wait"], &stop.within(PATIENCE)) {
            Err(error) if error.kind != Kind::Timeout => Err(error),
            _ => Ok(()),
        }
    }

    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8]), stop: &Stop) -> Result<Exit> {
        let ran = self.by_channel(stop, |session| session.run(command, Source::Whole(&command.stdin), output, stop))?;
        ran.map_or_else(|| self.execute(command, None, true, output, stop), Ok)
    }

    fn run_with_input(
        &self,
        command: &Command,
        input: &Input,
        signals: &Signals,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        let ran = self.by_channel(stop, |session| session.run(command, Source::Live(input, signals), output, stop))?;
        if let Some(exit) = ran {
            return Ok(exit);
        }
        let mut feed = Feed::new(input)?;
        match feed.whole() {
            Some(stdin) => self.execute(&Command { stdin, ..command.clone() }, None, true, output, stop),
            None => self.execute(command, Some(feed), true, output, stop),
        }
    }

    fn terminal(
        &self,
        command: &Command,
        rows: u16,
        columns: u16,
        stop: &Stop,
    ) -> Result<Result<Box<dyn Console>, String>> {
        Ok(match self.session(stop)? {
            Some(session) => Ok(Box::new(ChannelTerminal::open(&session, command, rows, columns))),
            None => Err(self.obstacle(stop)?.unwrap_or_default()),
        })
    }

    fn hang_up(&self) {
        *self.way.lock() = Way::Unknown;
    }

    fn forward(self: Arc<Self>, forward: Forward, stop: &Stop) -> Result<Result<OpenForward, String>> {
        forwards::into_guest(&self, forward, stop)
    }

    fn forward_back(self: Arc<Self>, forward: Forward, stop: &Stop) -> Result<Result<OpenForward, String>> {
        forwards::out_of_guest(&self, forward, stop)
    }

    fn read(&self, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64> {
        let read = self.by_channel(stop, |session| self.read_by_disk(session, path, sink, stop))?;
        read.map_or_else(|| file::read(&self.calls, path, sink, stop), Ok)
    }

    fn write(&self, path: &str, source: &mut dyn Read, mode: &FileMode, stop: &Stop) -> Result<u64> {
        if mode.owner.is_some() {
            // The owner is known by a name, which only a program of the guest understands.
            let made = self.by_channel(stop, |session| session.write(path, &mut std::io::empty(), mode.mode, stop))?;
            if made.is_some() {
                self.set_mode(path, mode, stop)?;
            }
        }
        let written = self.by_channel(stop, |session| self.write_by_disk(session, path, source, mode.mode, stop))?;
        let by_agent =
            || file::write(&self.calls, path, source, mode, stop, &mut |mode| self.set_mode(path, mode, stop));
        written.map_or_else(by_agent, Ok)
    }

    fn kind_of(&self, path: &str, stop: &Stop) -> Result<PathKind> {
        self.look(path, stop)
    }

    fn pack(&self, directory: &str, name: &str, archive: &mut dyn Write, stop: &Stop) -> Result<()> {
        self.pack_by_tar(directory, name, archive, stop)
    }

    fn unpack_target(&self, path: &str, owner: Option<&str>, stop: &Stop) -> Result<UnpackTarget> {
        self.target(path, owner, stop)
    }

    fn unpack(&self, archive: &Input, directory: &str, options: &UnpackOptions, stop: &Stop) -> Result<()> {
        self.unpack_by_tar(archive, directory, options, stop)
    }

    fn list(&self, directory: &str, stop: &Stop) -> Result<Vec<GuestEntry>> {
        self.list_by_find(directory, stop)
    }

    fn remove(&self, directory: &str, paths: &[PathBuf], stop: &Stop) -> Result<()> {
        self.remove_by_rm(directory, paths, stop)
    }

    fn exists(&self, path: &str, stop: &Stop) -> Result<bool> {
        Ok(self.ask(["test", "-e", path], stop)?.0 == Exit(0))
    }

    fn listens(&self, port: u16, stop: &Stop) -> Result<bool> {
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let mut text = Vec::new();
            match self.read(table, &mut text, stop) {
                Ok(_) if sockets::listens(&String::from_utf8_lossy(&text), port) => return Ok(true),
                Ok(_) => {}
                // A kernel without IPv6 has only the first table.
                Err(_) if table.ends_with('6') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn unit_state(&self, unit: &str, stop: &Stop) -> Result<UnitState> {
        let (exit, stdout, stderr) = self.ask(["systemctl", "is-active", "--", unit], stop)?;
        read_state(unit, exit, &stdout, &stderr)
    }

    fn wait_for(&self, condition: &Condition, stop: &Stop) -> Result<()> {
        let waited = self.wait_by_channel(stop, |session| session.wait_for(condition, stop))?;
        waited.map_or_else(|| self.poll_for(condition, stop), Ok)
    }

    fn wait_for_unit(&self, unit: &str, stop: &Stop) -> Result<bool> {
        let watch = Command::argv(["/bin/sh", "-c", WATCH_UNIT, "sh", unit]);
        let (mut states, mut errors) = (Vec::new(), Vec::new());
        let watched = self.wait_by_channel(stop, |session| {
            states.clear();
            let mut keep = |stream, bytes: &[u8]| match stream {
                Stream::Stdout => states.extend_from_slice(bytes),
                Stream::Stderr => errors.extend_from_slice(bytes),
            };
            session.run(&watch, Source::Whole(&[]), &mut keep, stop)
        });
        let states = String::from_utf8_lossy(&states);
        let state = states.lines().last().unwrap_or_default();
        match watched {
            Ok(Some(exit)) => match read_state(unit, exit, state, &String::from_utf8_lossy(&errors))? {
                UnitState::Other(state) => Err(Error::bug(format!("nothing waits for a unit that is {state}"))),
                state => Ok(state == UnitState::Active),
            },
            Ok(None) => self.poll_for_unit(unit, stop),
            Err(error) if error.kind == Kind::Timeout && !state.is_empty() => {
                Err(error.tail_of(&format!("it is {state}")))
            }
            Err(error) => Err(error),
        }
    }

    fn reboot(&self, stop: &Stop) -> Result<()> {
        const OBEYS_WITHIN: Duration = Duration::from_secs(10);
        let before = self.poll("the guest agent", stop, || self.boot_id().map(Some))?;
        self.send_shutdown("reboot")?;
        self.seen().clear();
        let (mut sent, mut was_away) = (Instant::now(), false);
        self.poll("the restart", stop, || {
            let now =
                self.boot_id().inspect_err(|error| was_away |= matches!(error, TransportError::NotConnected(_)))?;
            if now != before {
                return Ok(Some(()));
            }
            // An agent that restarted did not receive the request. Repeating it does no harm to a guest that obeys.
            if was_away || sent.elapsed() > OBEYS_WITHIN {
                self.request_shutdown("reboot")?;
                (sent, was_away) = (Instant::now(), false);
            }
            Ok(None)
        })?;
        *self.way.lock() = Way::Unknown;
        self.wait_until_booted(stop)
    }

    fn shutdown(&self, stop: &Stop) -> Result<()> {
        self.seen().clear();
        // An agent that is away would not hear it, and one that obeys does not answer.
        let _ = self.calls.when_there(stop, "shutting the guest down", || self.calls.ping(PING))?;
        self.send_shutdown("powerdown")
    }

    fn sync(&self, stop: &Stop) -> Result<()> {
        self.must(["sync"], CANNOT_SYNC, stop)
    }

    fn settle(&self, stop: &Stop) -> Result<()> {
        if self.session(stop)?.is_some() {
            return self.sync(stop);
        }
        let settle = || match self.by_agent(&Command::argv(["sync"]), stop)? {
            (Exit(0), _) => Ok(()),
            (_, said) => Err(Error::failed(CANNOT_SYNC).cause(said.trim())),
        };
        // Without its trace it may be lost when the agent restarts; running it twice does no harm.
        settle().or_else(|error| if error.kind == Kind::Failed { settle() } else { Err(error) })
    }

    fn obstacle(&self, stop: &Stop) -> Result<Option<String>> {
        self.session(stop)?;
        Ok(self.why_not())
    }

    fn time(&self, stop: &Stop) -> Result<f64> {
        let failed = |error| file::failure("cannot read the guest's clock", &error);
        let time = self.calls.when_there(stop, "reading the guest's clock", || self.calls.time())?;
        Ok(time.map_err(failed)? as f64 / 1e9)
    }

    fn wake(&self, connections: Connections, stop: &Stop) -> Result<Option<String>> {
        let by_channel = way::find(&self.calls.transport).and_then(|session| {
            let seed = guest_program::seed();
            match session.wake(guest_program::time(), seed.as_bytes(), connections, stop) {
                // The program may have been killed, or not know what it was asked for.
                Err(error) if error.kind == Kind::Failed => None,
                woken => {
                    *self.way.lock() = Way::Channel(session);
                    Some(woken)
                }
            }
        });
        let woken = match by_channel {
            Some(woken) => woken?,
            // Every guest of ours has an agent.
            None => {
                let wake = || guest_program::wake_by_agent(&self.calls, connections);
                let has_clock = self.poll("the guest agent", stop, || match wake() {
                    Err(TransportError::Agent { .. }) => Ok(Some(false)),
                    is_awake => is_awake.map(Some),
                })?;
                Woken { has_clock, why_not_reset: None }
            }
        };
        if !woken.has_clock {
            system::set_both_clocks(&self.calls)?;
        }
        Ok(woken.why_not_reset)
    }

    fn info(&self, stop: &Stop) -> Result<BTreeMap<String, String>> {
        if let Some(facts) = system::facts(&self.calls) {
            return Ok(facts);
        }
        let mut info = BTreeMap::new();
        for (name, option) in [("name", "-s"), ("kernel", "-r"), ("machine", "-m")] {
            let (_, stdout, _) = self.ask(["uname", option], stop)?;
            info.insert(name.to_string(), stdout);
        }
        Ok(info)
    }
}
