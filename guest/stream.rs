//! What the host has asked for and is under way.

use crate::command::Started;
use crate::connection::Connection;
use crate::frame::{Kind, MOST, WINDOW};
use crate::input::Input;
use crate::linux::{EAGAIN, EINTR, Errno, FAILED, File, HUNG_UP, Poll, READABLE, WRITABLE};
use crate::outgoing::Outgoing;

/// How often a terminal is looked at when its command has ended.
const LOOKS: u8 = 3;

/// A request under way.
pub struct Stream {
    pub number: u32,
    /// How many more bytes the host takes.
    credit: usize,
    input: Input,
    work: Work,
}

enum Work {
    Command(Command),
    /// The process that watches a condition, and its status once it has ended.
    Watching(usize, Option<u32>),
    Reading(File),
    Writing,
    Connection(Connection),
    /// What is accepted there is a connection with a stream of its own.
    Listening(File),
}

struct Command {
    child: usize,
    has_terminal: bool,
    /// How often a terminal whose command has ended is looked at once more. What was printed last may be on its way, and
    /// what the command left running may hold the terminal open for ever.
    looks: u8,
    /// Once it has ended.
    status: Option<u32>,
    outputs: [Output; 2],
}

/// One of the two outputs of a command.
struct Output {
    kind: Kind,
    /// `None` once it has ended.
    file: Option<File>,
    /// How much of it is passed on after the command's end.
    left: usize,
}

impl Stream {
    pub fn of_command(number: u32, started: Started) -> Self {
        let has_terminal = started.errors.is_none();
        let output = |kind, file| Output { kind, file, left: 0 };
        let outputs = [output(Kind::Output, Some(started.output)), output(Kind::Errors, started.errors)];
        let command = Command { child: started.child, has_terminal, looks: LOOKS, status: None, outputs };
        Self { number, credit: WINDOW, input: Input::new(started.input), work: Work::Command(command) }
    }

    pub fn reading(number: u32, file: File) -> Self {
        Self { number, credit: WINDOW, input: Input::new(None), work: Work::Reading(file) }
    }

    pub fn writing(number: u32, file: File) -> Self {
        Self { number, credit: WINDOW, input: Input::new(Some(file)), work: Work::Writing }
    }

    pub fn watching(number: u32, child: usize) -> Self {
        Self { number, credit: WINDOW, input: Input::new(None), work: Work::Watching(child, None) }
    }

    /// Returns the size of a file that is read.
    pub fn size(&self) -> Option<u64> {
        if let Work::Reading(file) = &self.work { Some(file.size()) } else { None }
    }

    /// A connection, which may not be made yet.
    pub fn of_connection(number: u32, connection: Connection) -> Result<Self, Errno> {
        let input = if connection.is_made() { connection.input()? } else { Input::new(None) };
        Ok(Self { number, credit: WINDOW, input, work: Work::Connection(connection) })
    }

    pub fn listening(number: u32, file: File) -> Self {
        Self { number, credit: 0, input: Input::new(None), work: Work::Listening(file) }
    }

    /// Says whether the host is to be told that it is under way.
    pub fn has_begun(&self) -> bool {
        !matches!(&self.work, Work::Connection(connection) if !connection.is_made())
    }

    /// Returns where connections are accepted.
    pub fn listener(&self) -> Option<&File> {
        match &self.work {
            Work::Listening(file) => Some(file),
            _ => None,
        }
    }

    /// Ends it before its time.
    pub fn break_off(self) {
        if let Work::Connection(connection) = &self.work {
            connection.reset();
        }
    }

    pub fn add_input(&mut self, bytes: &[u8]) {
        self.input.add(bytes);
    }

    pub fn end_input(&mut self) {
        match &mut self.work {
            Work::Command(command) if command.has_terminal => {
                let _ = self.input.close();
                command.outputs[0].file = None;
            }
            _ => self.input.end(),
        }
    }

    pub fn resize(&self, size: u32) {
        if let Work::Command(Command { outputs: [Output { file: Some(file), .. }, _], has_terminal: true, .. }) =
            &self.work
        {
            file.resize(size);
        }
    }

    /// Says whether what it runs is told that its terminal is gone, instead of being killed.
    pub fn has_terminal(&self) -> bool {
        matches!(&self.work, Work::Command(command) if command.has_terminal)
    }

    pub fn add_credit(&mut self, more: usize) {
        self.credit = self.credit.saturating_add(more);
    }

    pub fn is_command(&self) -> bool {
        matches!(self.work, Work::Command(_))
    }

    /// Returns the process that runs for it.
    pub fn child(&self) -> Option<usize> {
        match &self.work {
            Work::Command(Command { child, status: None, .. }) | Work::Watching(child, None) => Some(*child),
            _ => None,
        }
    }

    /// Takes in that the process has ended.
    pub fn child_ended(&mut self, status: u32) {
        let command = match &mut self.work {
            Work::Command(command) => command,
            Work::Watching(_, ended) => {
                *ended = Some(status);
                return;
            }
            Work::Reading(_) | Work::Writing | Work::Connection(_) | Work::Listening(_) => return,
        };
        command.status = Some(status);
        for output in &mut command.outputs {
            output.left = output.file.as_ref().map_or(0, File::waiting);
        }
        let _ = self.input.close();
    }

    /// Returns the outputs that have not ended with the command: what it left running may keep printing.
    pub fn into_outputs(self) -> impl Iterator<Item = File> {
        let outputs = match self.work {
            Work::Command(Command { outputs, has_terminal: false, .. }) => Some(outputs),
            _ => None,
        };
        outputs.into_iter().flatten().filter_map(|output| output.file)
    }

    /// Says whether it is to be looked at before long, although nothing may come.
    pub fn lingers(&self) -> bool {
        matches!(&self.work, Work::Command(Command { has_terminal: true, status: Some(_), .. }))
    }

    /// Adds what it waits for.
    pub fn wait(&self, has_room: bool, polls: &mut alloc::vec::Vec<Poll>) {
        let mut add = |file: &File, wanted| polls.push(Poll { file: file.number(), wanted, came: 0 });
        if let Some(file) = self.input.wants() {
            add(file, WRITABLE);
        }
        let has_room = has_room && self.credit > 0;
        if let Work::Connection(connection) = &self.work {
            if let Some((file, wanted)) = connection.wait(has_room) {
                add(file, wanted);
            }
        }
        if !has_room {
            return;
        }
        match &self.work {
            Work::Command(command) => {
                command.outputs.iter().filter_map(|output| output.file.as_ref()).for_each(|file| add(file, READABLE));
            }
            Work::Reading(file) => add(file, READABLE),
            Work::Writing | Work::Watching(..) | Work::Connection(_) | Work::Listening(_) => {}
        }
    }

    /// Does what can be done at once. Says whether it is over.
    pub fn advance(&mut self, polls: &[Poll], outgoing: &mut Outgoing) -> bool {
        let input = self.input.pass_on(self.number, outgoing);
        match &mut self.work {
            Work::Listening(_) => false,
            Work::Connection(connection) if !connection.is_made() => {
                let made =
                    connection.complete(polls).and_then(|is_made| is_made.then(|| connection.input()).transpose());
                match made {
                    Ok(Some(input)) => {
                        self.input = input;
                        outgoing.say(Kind::Begun, self.number, &[]);
                        false
                    }
                    Ok(None) => false,
                    Err(error) => finish(self.number, Err(error), outgoing),
                }
            }
            Work::Connection(connection) => {
                connection.advance(self.number, (&mut self.input, input), &mut self.credit, polls, outgoing)
            }
            Work::Command(command) => {
                // The command reads no more.
                if input.is_err() {
                    outgoing.say(Kind::End, self.number, &[]);
                }
                if input.is_err() || self.input.is_done() {
                    let _ = self.input.close();
                }
                let has_ended = command.status.is_some();
                for output in &mut command.outputs {
                    let is_ready = output.file.as_ref().is_some_and(|file| is_ready(file, polls));
                    if self.credit == 0 || !outgoing.has_room() {
                        continue;
                    }
                    if is_ready {
                        let is_bounded = has_ended && !command.has_terminal;
                        self.credit -= output.pass_on(self.number, self.credit, is_bounded, outgoing);
                    } else if has_ended && output.file.is_some() {
                        command.looks = command.looks.saturating_sub(1);
                    }
                }
                let has_all =
                    |output: &Output| if command.has_terminal { command.looks == 0 } else { output.left == 0 };
                let is_over = command.outputs.iter().all(|output| output.file.is_none() || has_all(output));
                match command.status.filter(|_| is_over) {
                    Some(status) => {
                        outgoing.say_number(Kind::Exit, self.number, status);
                        true
                    }
                    None => false,
                }
            }
            Work::Watching(_, None) => false,
            Work::Watching(_, Some(0)) => finish(self.number, Ok(()), outgoing),
            Work::Watching(_, Some(_)) => finish(self.number, Err(EINTR), outgoing),
            Work::Reading(file) => {
                while self.credit > 0 && outgoing.has_room() {
                    match outgoing.pass_on(Kind::Output, self.number, file, self.credit.min(MOST)) {
                        Ok(0) => return finish(self.number, Ok(()), outgoing),
                        Ok(length) => self.credit -= length,
                        Err(EINTR) => {}
                        Err(EAGAIN) => return false,
                        Err(error) => return finish(self.number, Err(error), outgoing),
                    }
                }
                false
            }
            Work::Writing => match input {
                Ok(()) if self.input.is_done() => finish(self.number, self.input.close(), outgoing),
                Ok(()) => false,
                Err(error) => finish(self.number, Err(error), outgoing),
            },
        }
    }
}

impl Output {
    /// Passes some of it on. Says how much.
    fn pass_on(&mut self, stream: u32, credit: usize, is_bounded: bool, outgoing: &mut Outgoing) -> usize {
        let most = if is_bounded { credit.min(self.left) } else { credit };
        let Some(file) = self.file.as_ref().filter(|_| most > 0) else { return 0 };
        match outgoing.pass_on(self.kind, stream, file, most) {
            Ok(length @ 1..) => {
                self.left = self.left.saturating_sub(length);
                length
            }
            Err(EAGAIN | EINTR) => 0,
            _ => {
                self.file = None;
                0
            }
        }
    }
}

/// Says how a request has ended.
pub fn finish(number: u32, result: Result<(), Errno>, outgoing: &mut Outgoing) -> bool {
    match result {
        Ok(()) => outgoing.say(Kind::Done, number, &[]),
        Err(error) => outgoing.say_number(Kind::Failed, number, error.0 as u32),
    }
    true
}

pub fn is_ready(file: &File, polls: &[Poll]) -> bool {
    polls.iter().any(|poll| poll.file == file.number() && poll.came & (READABLE | HUNG_UP | FAILED) != 0)
}
