//! The process that attends a guest's channel: several processes use it through one, and ports are forwarded as long as
//! the domain runs.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::agent::Agent;
use crate::channel;
use crate::error::{Because, Error, Result};
use crate::hypervisor::{Forward, Guest, OpenForward, Ports};
use crate::libvirt::guest::attendant_place::Place;
use crate::libvirt::guest::attended_line::AttendedLine;
use crate::libvirt::guest::channel::{Channel, VARIABLE as CHANNEL};
use crate::stop::{Interrupt, Stop};

/// How long a guest may take to answer.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the end of the domain is looked for.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// An attendant that forwards nothing ends when no process needed it for this long.
const IDLE: Duration = Duration::from_secs(600);
/// How long the processes that it serves have to hear of its end.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an attendant has for its end after that of its domain.
const END: Duration = Duration::from_secs(5);
const SELF: &str = "/proc/self/exe";
const TRACE: &str = "SNAPTREE_TRACE";

/// Starts an attendant in a process of its own, unless one is there. Returns what that forwards.
pub fn start(uri: &str, name: &str, place: &Place, ports: &Ports) -> Result<Ports> {
    let failed = || Error::failed(format!("cannot attend the channel of `{name}`"));
    let way = std::env::var(CHANNEL).unwrap_or_default();
    if !way.is_empty() {
        return Err(failed().cause(format!("{CHANNEL}={way} asks for another way")));
    }
    let begun = Instant::now();
    loop {
        if place.connect().is_ok() {
            return Ok(place.ports());
        }
        if let Some(ports) = spawn(uri, name, ports)? {
            return Ok(ports);
        }
        // Another process starts one at the same time.
        if begun.elapsed() > LIMIT {
            return Err(failed().cause("another one does not answer"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `snaptree attend` until it is ready; `None` if another one is there.
fn spawn(uri: &str, name: &str, ports: &Ports) -> Result<Option<Ports>> {
    let failed = || format!("cannot attend the channel of `{name}`");
    let pairs = |option: &'static str, ports: &[Forward]| {
        ports.iter().map(|port| format!("{option}={}:{}", port.host, port.guest)).collect::<Vec<_>>()
    };
    let mut child = Command::new(SELF)
        .arg0("snaptree")
        .args(["--quiet", "--connect", uri, "attend"])
        .args(pairs("--forward", &ports.forwards))
        .args(pairs("--forward-back", &ports.back))
        .args(["--", name])
        .env_remove(TRACE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .because(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).because(failed)?;
    }
    if !line.is_empty() {
        return serde_json::from_str(&line).map(Some).because(failed);
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).because(failed)?;
    }
    if child.wait().because(failed)?.success() {
        return Ok(None);
    }
    let cause = said.lines().next().unwrap_or_default();
    Err(Error::failed(failed()).cause(cause.strip_prefix("error: ").unwrap_or(cause)))
}

/// Waits until the attendant of a domain that is gone has ended too.
pub fn wait_for_end(place: &Place) {
    let begun = Instant::now();
    while place.is_attended() && begun.elapsed() < END {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Attends the channel in this process, until the domain or `interrupt` ends it. `ready` is told what is forwarded, once
/// other processes may come. Does nothing if another one attends.
pub fn attend(
    channel: Channel,
    name: &str,
    place: &Place,
    ports: &Ports,
    interrupt: &Interrupt,
    ready: &mut dyn FnMut(&Ports) -> Result<()>,
) -> Result<()> {
    let failed = || format!("cannot attend the channel of `{name}`");
    let Some(mut claim) = place.claim().because(failed)? else { return Ok(()) };
    let agent = Arc::new(Agent::new(channel, name));
    let stop = Stop::after(LIMIT, interrupt);
    if agent.session(&stop)?.is_none() {
        return Err(Error::failed(failed()).cause(agent.why_not().unwrap_or_default()));
    }
    let is_asked = !ports.is_empty();
    // What cannot be forwarded again is no reason to serve nothing.
    let wanted = if is_asked { ports.clone() } else { claim.left() };
    let (mut open, mut opened) = (Vec::new(), Ports::default());
    for forward in wanted.forwards {
        let held = Arc::clone(&agent).forward(forward, &stop);
        opened.forwards.extend(hold(held, is_asked, &mut open)?);
    }
    for forward in wanted.back {
        let held = Arc::clone(&agent).forward_back(forward, &stop);
        opened.back.extend(hold(held, is_asked, &mut open)?);
    }
    claim.write(&opened).because(failed)?;
    let listener = claim.listen().because(failed)?;
    ready(&opened)?;
    serve(&agent, &listener, !open.is_empty(), interrupt);
    Ok(())
}

fn hold(
    held: Result<Result<OpenForward, String>>,
    is_asked: bool,
    open: &mut Vec<OpenForward>,
) -> Result<Option<Forward>> {
    match held.and_then(|held| held.map_err(Error::failed)) {
        Ok(held) => {
            let forward = held.forward;
            open.push(held);
            Ok(Some(forward))
        }
        Err(error) if is_asked => Err(error),
        Err(_) => Ok(None),
    }
}

fn serve(agent: &Arc<Agent<Channel>>, listener: &UnixListener, forwards: bool, interrupt: &Interrupt) {
    let clients = Arc::new(AtomicUsize::new(0));
    let mut needed = Instant::now();
    while !interrupt.is_raised() {
        let _ = poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&LOOK));
        if let Ok((socket, _)) = listener.accept() {
            let (agent, clients) = (Arc::clone(agent), Arc::clone(&clients));
            clients.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let _ = serve_one(&agent, socket);
                clients.fetch_sub(1, Ordering::SeqCst);
            });
        }
        if forwards || clients.load(Ordering::SeqCst) > 0 {
            needed = Instant::now();
        }
        let is_lost = !agent.has_session();
        if needed.elapsed() > IDLE || is_lost && agent.calls.transport.is_gone() {
            break;
        }
    }
    // Each process is told why.
    agent.hang_up();
    let ending = Instant::now();
    while clients.load(Ordering::SeqCst) > 0 && ending.elapsed() < GOODBYE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serve_one(agent: &Agent<Channel>, socket: UnixStream) -> io::Result<()> {
    let line = AttendedLine::new(socket, None)?;
    match agent.session(&Stop::after(LIMIT, &Interrupt::default())) {
        Ok(Some(session)) => channel::attend(&session, Box::new(line)),
        _ => Ok(()),
    }
}
