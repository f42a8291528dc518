//! Starting and ending commands.

use alloc::vec::Vec;

use crate::frame::{self, HAS_INPUT, take_number, take_text};
use crate::linux::{self, E2BIG, ENOENT, ENOEXEC, ENOTDIR, Errno, File, READ_ONLY, Text};

const CANNOT_RUN: usize = 126;
const NOT_FOUND: usize = 127;
const SHELL: &[u8] = b"/bin/sh\0";
const SH: &[u8] = b"sh\0";
const PATH: &[u8] = b"PATH=";
const USUAL_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const KILL: &[u8] = concat!(include_str!("../src/agent/kill.sh"), "\0").as_bytes();

/// A request to run a command; the texts lie in the request.
pub struct Request<'r> {
    has_input: bool,
    /// Of its terminal, if it has one.
    size: Option<u32>,
    directory: Text<'r>,
    variables: Vec<Text<'r>>,
    words: Vec<Text<'r>>,
}

impl<'r> Request<'r> {
    pub fn parse(mut content: &'r [u8]) -> Option<Self> {
        let content = &mut content;
        let mut number = || take_number(content);
        let (flags, size, variables, words) = (number()?, number()?, number()?, number()?);
        let directory = take_text(content).and_then(Text::new)?;
        let mut texts = |count: u32| (0..count).map(|_| take_text(content).and_then(Text::new)).collect::<Option<_>>();
        let (variables, words): (_, Vec<_>) = (texts(variables)?, texts(words)?);
        let (has_input, size) = (flags & HAS_INPUT != 0, (size != 0).then_some(size));
        (!words.is_empty()).then_some(Self { has_input, size, directory, variables, words })
    }
}

/// A command that was started: our ends of its pipes.
pub struct Started {
    pub child: usize,
    pub input: Option<File>,
    pub output: File,
    /// `None` on a terminal.
    pub errors: Option<File>,
}

/// Starts a command in a session of its own.
pub fn start(request: &Request<'_>, environment: &[Text<'static>]) -> Result<Started, Errno> {
    match request.size {
        Some(size) => start_on_terminal(request, size, environment),
        None => start_on_pipes(request, environment),
    }
}

fn start_on_terminal(request: &Request<'_>, size: u32, environment: &[Text<'static>]) -> Result<Started, Errno> {
    let (ours, terminal) = linux::terminal()?;
    ours.resize(size);
    let input = ours.duplicate()?;
    let child = linux::fork()?;
    if child == 0 {
        linux::reset_signals();
        linux::begin_session();
        terminal.take_control();
        (File::STDIN..=File::STDERR).for_each(|number| terminal.become_number(number));
        become_command(request, environment);
    }
    Ok(Started { child, input: Some(input), output: ours, errors: None })
}

fn start_on_pipes(request: &Request<'_>, environment: &[Text<'static>]) -> Result<Started, Errno> {
    let (input, feed) = if request.has_input {
        let (input, feed) = linux::pipe()?;
        // A command that does not read must not stop everything else.
        feed.set_nonblocking(true);
        (input, Some(feed))
    } else {
        (File::open(Text::new(crate::DEV_NULL).ok_or(ENOENT)?, READ_ONLY, 0)?, None)
    };
    let (output, its_output) = linux::pipe()?;
    let (errors, its_errors) = linux::pipe()?;
    output.set_nonblocking(true);
    errors.set_nonblocking(true);
    // Another user than this one may open them again, as /dev/stdout.
    for file in [&its_output, &its_errors].into_iter().chain(feed.is_some().then_some(&input)) {
        let _ = file.set_mode(0o666);
    }
    let child = linux::fork()?;
    if child == 0 {
        linux::reset_signals();
        linux::begin_session();
        linux::end_with_parent();
        input.become_number(File::STDIN);
        its_output.become_number(1);
        its_errors.become_number(File::STDERR);
        become_command(request, environment);
    }
    Ok(Started { child, input: feed, output, errors: Some(errors) })
}

/// Sends a signal to a command, as the keys of a terminal do: to its process group. `su` gives its child a session of
/// its own, and kills it soon after a signal; then that child's process group is meant.
pub fn signal(child: usize, signal: usize) {
    let target = only_child(child).filter(|process| linux::leads_session(*process)).unwrap_or(child);
    linux::send_signal(target, signal, true);
}

/// Returns the child of a process that has one.
fn only_child(process: usize) -> Option<usize> {
    let digits = digits(process);
    let file = [b"/proc/", &digits[..], b"/task/", &digits, b"/children\0"].concat();
    let mut children = [0; 64];
    let length = File::open(Text::new(&file)?, READ_ONLY, 0).and_then(|file| file.read(&mut children)).ok()?;
    let mut children = children.get(..length)?.split(|byte| *byte == b' ').filter(|child| !child.is_empty());
    let child = children.next()?.iter().fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0')));
    children.next().is_none().then_some(child)
}

fn digits(mut number: usize) -> Vec<u8> {
    let mut digits = Vec::new();
    while number > 0 {
        digits.insert(0, b'0' + (number % 10) as u8);
        number /= 10;
    }
    digits
}

/// Kills a command and everything that it started, in the background.
pub fn kill(child: usize, environment: &[Text<'static>]) {
    let digits = [&digits(child)[..], b"\0"].concat();
    if linux::fork() == Ok(0) {
        linux::reset_signals();
        let words: [&[u8]; 7] = [SHELL, b"-c\0", KILL, SH, b"\0", b"\0", &digits];
        let words: Vec<usize> = words.iter().map(|word| word.as_ptr() as usize).chain([0]).collect();
        let environment = addresses(environment);
        if let Some(shell) = Text::new(SHELL) {
            linux::execute(shell, &words, &environment);
        }
        linux::exit(NOT_FOUND);
    }
}

fn complain(parts: &[&[u8]]) {
    let text = parts.concat();
    let _ = File::inherited(File::STDERR).write(&text);
}

/// The child's part.
fn become_command(request: &Request<'_>, environment: &[Text<'static>]) -> ! {
    let directory = request.directory.bytes();
    if !directory.is_empty()
        && let Err(error) = linux::enter(request.directory)
    {
        let why: &[u8] = if is_missing(error) { b"`: no such directory\n" } else { b"`\n" };
        complain(&[b"cannot enter `", directory, why]);
        linux::exit(CANNOT_RUN);
    }
    let environment = merged(environment, &request.variables);
    let path = environment.iter().find_map(|variable| variable.bytes().strip_prefix(PATH)).unwrap_or(USUAL_PATH);
    let variables = addresses(&environment);
    // With room for one more word.
    let words: Vec<usize> = [0].into_iter().chain(addresses(&request.words)).collect();
    let name = request.words.first().map_or(&[][..], |word| word.bytes());

    let failed = if name.contains(&b'/') {
        become_program(name, words, &variables)
    } else if name.is_empty() {
        ENOENT
    } else {
        let mut failed = ENOENT;
        for place in path.split(|byte| *byte == b':') {
            let slash: &[u8] = if place.is_empty() { b"" } else { b"/" };
            let error = become_program(&[place, slash, name].concat(), words.clone(), &variables);
            if !is_missing(error) {
                failed = error;
            }
        }
        failed
    };
    let why: &[u8] = match failed {
        _ if is_missing(failed) => b": not found\n",
        E2BIG => b": argument list too long\n",
        _ => b": cannot be run\n",
    };
    complain(&[name, why]);
    linux::exit(if is_missing(failed) { NOT_FOUND } else { CANNOT_RUN })
}

/// Becomes a program, or says why not. A file that is no program is a script of the shell.
fn become_program(file: &[u8], mut words: Vec<usize>, variables: &[usize]) -> Errno {
    let file = [file, b"\0"].concat();
    let Some(file) = Text::new(&file) else { return ENOENT };
    match linux::execute(file, &words[1..], variables) {
        ENOEXEC => {
            words[0] = SH.as_ptr() as usize;
            words[1] = file.address();
            Text::new(SHELL).map_or(ENOENT, |shell| linux::execute(shell, &words, variables))
        }
        error => error,
    }
}

/// Puts variables in the place of those with the same names.
fn merged<'v>(environment: &[Text<'static>], added: &[Text<'v>]) -> Vec<Text<'v>> {
    let name = |variable: Text<'v>| variable.bytes().split(|byte| *byte == b'=').next();
    let is_replaced = |variable: Text<'v>| added.iter().any(|other| name(*other) == name(variable));
    let kept = environment.iter().copied().filter(|variable| !is_replaced(*variable));
    kept.chain(added.iter().copied()).collect()
}

/// Returns the addresses of texts, as the kernel takes them, with none after the last.
fn addresses(texts: &[Text<'_>]) -> Vec<usize> {
    texts.iter().map(|text| text.address()).chain([0]).collect()
}

fn is_missing(error: Errno) -> bool {
    matches!(error, ENOENT | ENOTDIR)
}

/// A request to write a file: the mode for it, and the path.
pub fn parse_write(mut content: &[u8]) -> Option<(Option<usize>, Text<'_>)> {
    let mode = take_number(&mut content)?;
    let path = take_text(&mut content).and_then(Text::new)?;
    Some(((mode != frame::NO_MODE).then_some(mode as usize), path))
}
