//! The kernel's calls, and nothing else of the guest: no C library. All `unsafe` of the program is here and in
//! `memory.rs`.

use core::arch::{asm, global_asm};

/// An error's number, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

pub const ENOENT: Errno = Errno(2);
pub const EINTR: Errno = Errno(4);
pub const EIO: Errno = Errno(5);
pub const E2BIG: Errno = Errno(7);
pub const ENOEXEC: Errno = Errno(8);
pub const EAGAIN: Errno = Errno(11);
pub const EBUSY: Errno = Errno(16);
pub const EEXIST: Errno = Errno(17);
pub const ENOTDIR: Errno = Errno(20);

pub const READ_ONLY: usize = 0;
pub const WRITE_ONLY: usize = 1;
pub const READ_WRITE: usize = 2;
pub const CREATE: usize = 0o100;
pub const EXCLUSIVE: usize = 0o200;
pub const TRUNCATE: usize = 0o1000;
const NO_CONTROL: usize = 0o400;
pub const NONBLOCK: usize = 0o4000;
/// Past the kernel's cache.
pub const DIRECT: usize = 0o40_000;
pub const CLOSE_ON_EXEC: usize = 0o2_000_000;

pub const READABLE: i16 = 1;
pub const WRITABLE: i16 = 4;
pub const FAILED: i16 = 8;
pub const HUNG_UP: i16 = 16;

const ANY_CHILD: usize = usize::MAX;
pub const SIGKILL: usize = 9;
const SIGPIPE: usize = 13;
const SIGCHLD: usize = 17;
const LAST_SIGNAL: usize = 64;

pub mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const OPEN: usize = 2;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const POLL: usize = 7;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const ACCESS: usize = 21;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SHUTDOWN: usize = 48;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const FORK: usize = 57;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const CHDIR: usize = 80;
    pub const FCHMOD: usize = 91;
    pub const SETSID: usize = 112;
    pub const GETSID: usize = 124;
    pub const PRCTL: usize = 157;
    pub const CLOCK_SETTIME: usize = 227;
    pub const EXIT_GROUP: usize = 231;
    pub const WAITID: usize = 247;
    pub const ACCEPT4: usize = 288;
    pub const SIGNALFD4: usize = 289;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
    pub const CLOSE_RANGE: usize = 436;
}

pub fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: every pointer below is to memory that outlives the call, with its true length.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

pub fn call3(number: usize, a: usize, b: usize, c: usize) -> Result<usize, Errno> {
    call(number, [a, b, c, 0, 0, 0])
}

/// A text with a zero at its end.
#[derive(Clone, Copy)]
pub struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// Takes a text up to its zero.
    pub fn new(bytes: &'t [u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        bytes.get(..=end).map(Self)
    }

    /// Returns it without the zero.
    pub fn bytes(self) -> &'t [u8] {
        self.0.split_last().map_or(&[], |(_, bytes)| bytes)
    }

    pub fn address(self) -> usize {
        self.0.as_ptr() as usize
    }
}

/// An open file, closed when it is dropped.
pub struct File(i32);

impl File {
    pub const STDIN: i32 = 0;
    pub const STDERR: i32 = 2;

    pub fn open(path: Text<'_>, flags: usize, mode: usize) -> Result<Self, Errno> {
        call3(number::OPEN, path.address(), flags | CLOSE_ON_EXEC, mode).map(Self::of)
    }

    /// Takes over a number that the program was started with.
    pub fn inherited(number: i32) -> Self {
        Self(number)
    }

    pub fn of(number: usize) -> Self {
        Self(number as i32)
    }

    pub fn number(&self) -> i32 {
        self.0
    }

    /// Opens a line to the kernel on which it is asked about sockets (`NETLINK_SOCK_DIAG`).
    pub fn to_kernel_about_sockets() -> Result<Self, Errno> {
        const NETLINK: usize = 16;
        const RAW: usize = 3;
        const ABOUT_SOCKETS: usize = 4;
        call3(number::SOCKET, NETLINK, RAW | CLOSE_ON_EXEC | NONBLOCK, ABOUT_SOCKETS).map(Self::of)
    }

    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        call3(number::READ, self.0 as usize, buffer.as_mut_ptr() as usize, buffer.len())
    }

    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        call3(number::WRITE, self.0 as usize, bytes.as_ptr() as usize, bytes.len())
    }

    /// Chooses whether reads and writes wait.
    pub fn set_nonblocking(&self, is_nonblocking: bool) {
        const SET_FLAGS: usize = 4;
        let flags = READ_WRITE | if is_nonblocking { NONBLOCK } else { 0 };
        let _ = call3(number::FCNTL, self.0 as usize, SET_FLAGS, flags);
    }

    /// Returns another number for the same file.
    pub fn duplicate(&self) -> Result<Self, Errno> {
        const DUPLICATE_CLOSE_ON_EXEC: usize = 1030;
        call3(number::FCNTL, self.0 as usize, DUPLICATE_CLOSE_ON_EXEC, 0).map(Self::of)
    }

    /// Sets the size of a terminal: its rows in the upper half, its columns in the lower one.
    pub fn resize(&self, size: u32) {
        const SET_WINDOW_SIZE: usize = 0x5414;
        let size = [(size >> 16) as u16, size as u16, 0, 0];
        let _ = call3(number::IOCTL, self.0 as usize, SET_WINDOW_SIZE, size.as_ptr() as usize);
    }

    /// Makes a terminal the one that controls this session.
    pub fn take_control(&self) {
        const SET_CONTROLLING_TERMINAL: usize = 0x540e;
        let _ = call3(number::IOCTL, self.0 as usize, SET_CONTROLLING_TERMINAL, 0);
    }

    pub fn set_mode(&self, mode: usize) -> Result<(), Errno> {
        call3(number::FCHMOD, self.0 as usize, mode, 0).map(drop)
    }

    /// Returns how many bytes a pipe holds.
    pub fn waiting(&self) -> usize {
        const BYTES_TO_READ: usize = 0x541b;
        let mut count = 0_i32;
        let _ = call3(number::IOCTL, self.0 as usize, BYTES_TO_READ, &raw mut count as usize);
        count as usize
    }

    /// Returns the size of a file; 0 if that is not known.
    pub fn size(&self) -> u64 {
        // `struct stat`, whose seventh word is the size, with the mode before it.
        let mut status = [0_u64; 18];
        let known = call3(number::FSTAT, self.0 as usize, status.as_mut_ptr() as usize, 0);
        known.map_or(0, |_| status[6])
    }

    /// Makes it what the number stands for, in programs that are started too.
    pub fn become_number(&self, number: i32) {
        let _ = call3(number::DUP3, self.0 as usize, number as usize, 0);
    }

    /// Closes it; what an earlier write could not do shows here.
    pub fn close(self) -> Result<(), Errno> {
        let number = self.0;
        core::mem::forget(self);
        call3(number::CLOSE, number as usize, 0, 0).map(drop)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = call3(number::CLOSE, self.0 as usize, 0, 0);
    }
}

/// Makes a pipe: the end to read from, and the one to write to.
pub fn pipe() -> Result<(File, File), Errno> {
    let mut ends = [0_i32; 2];
    call3(number::PIPE2, ends.as_mut_ptr() as usize, CLOSE_ON_EXEC, 0)?;
    Ok((File(ends[0]), File(ends[1])))
}

/// Makes a terminal: our end, and the one of programs.
pub fn terminal() -> Result<(File, File), Errno> {
    const UNLOCK: usize = 0x4004_5431;
    const OPEN_OTHER_END: usize = 0x5441;
    const DEVICE: Text<'_> = Text(b"/dev/ptmx\0");
    let ours = File::open(DEVICE, READ_WRITE | NO_CONTROL | NONBLOCK, 0)?;
    let unlocked = 0_i32;
    call3(number::IOCTL, ours.0 as usize, UNLOCK, &raw const unlocked as usize)?;
    let flags = READ_WRITE | NO_CONTROL | CLOSE_ON_EXEC;
    let other = call3(number::IOCTL, ours.0 as usize, OPEN_OTHER_END, flags).map(File::of)?;
    Ok((ours, other))
}

/// Without a limit.
pub const FOREVER: usize = usize::MAX;

/// What is waited for at a file, and what came.
#[repr(C)]
pub struct Poll {
    pub file: i32,
    pub wanted: i16,
    pub came: i16,
}

/// Waits until something comes, at most so many milliseconds.
pub fn poll(files: &mut [Poll], milliseconds: usize) {
    let _ = call3(number::POLL, files.as_mut_ptr() as usize, files.len(), milliseconds);
}

/// Returns the child's process id in the parent, and 0 in the child.
pub fn fork() -> Result<usize, Errno> {
    call3(number::FORK, 0, 0, 0)
}

/// Takes the end of a child, if one has ended: its process id, and its status as a shell has it.
pub fn ended_child() -> Option<(usize, u32)> {
    const DO_NOT_WAIT: usize = 1;
    let mut status = 0_u32;
    let child = call3(number::WAIT4, ANY_CHILD, &raw mut status as usize, DO_NOT_WAIT).ok()?;
    let signal = status & 0x7f;
    let status = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
    (child != 0).then_some((child, status))
}

/// Says whether there are children, ended or not; leaves them as they are.
pub fn has_children() -> bool {
    const ANY_KIND: usize = 0;
    const ENDED_DO_NOT_WAIT_DO_NOT_TAKE: usize = 4 | 1 | 0x0100_0000;
    call(number::WAITID, [ANY_KIND, 0, 0, ENDED_DO_NOT_WAIT_DO_NOT_TAKE, 0, 0]).is_ok()
}

/// Sends a signal to a process, or to the process group that it leads.
pub fn send_signal(process: usize, signal: usize, to_group: bool) {
    let target = if to_group { process.wrapping_neg() } else { process };
    let _ = call3(number::KILL, target, signal, 0);
}

/// Says whether a process leads a session.
pub fn leads_session(process: usize) -> bool {
    call3(number::GETSID, process, 0, 0) == Ok(process)
}

/// Closes all files.
pub fn close_all() {
    /// More than there are, for kernels that cannot close a range.
    const MOST: usize = 4096;
    if call3(number::CLOSE_RANGE, 0, u32::MAX as usize, 0).is_err() {
        for file in 0..MOST {
            let _ = call3(number::CLOSE, file, 0, 0);
        }
    }
}

/// Says whether a path leads to something.
pub fn exists(path: Text<'_>) -> bool {
    call3(number::ACCESS, path.address(), 0, 0).is_ok()
}

pub fn begin_session() {
    let _ = call3(number::SETSID, 0, 0, 0);
}

/// Lets this process be killed when its parent is.
pub fn end_with_parent() {
    const SET_PARENT_DEATH_SIGNAL: usize = 1;
    let _ = call3(number::PRCTL, SET_PARENT_DEATH_SIGNAL, SIGKILL, 0);
}

pub fn enter(directory: Text<'_>) -> Result<(), Errno> {
    call3(number::CHDIR, directory.address(), 0, 0).map(drop)
}

/// Becomes a program, or says why not. Both lists hold addresses of texts, and end in 0.
pub fn execute(file: Text<'_>, words: &[usize], variables: &[usize]) -> Errno {
    let result = call3(number::EXECVE, file.address(), words.as_ptr() as usize, variables.as_ptr() as usize);
    result.err().unwrap_or(ENOENT)
}

pub fn exit(status: usize) -> ! {
    loop {
        let _ = call3(number::EXIT_GROUP, status, 0, 0);
    }
}

/// Sets the clock, in seconds and nanoseconds since the epoch.
pub fn set_clock(seconds: u64, nanoseconds: u32) -> Result<(), Errno> {
    const REALTIME: usize = 0;
    let time = [seconds, u64::from(nanoseconds)];
    call3(number::CLOCK_SETTIME, REALTIME, time.as_ptr() as usize, 0).map(drop)
}

/// Adds to the kernel's random numbers, and lets that count from now on, not from some time within a minute.
pub fn reseed(seed: &[u8]) {
    const RESEED: usize = 0x5207;
    const DEVICE: Text<'_> = Text(b"/dev/urandom\0");
    if let Ok(random) = File::open(DEVICE, WRITE_ONLY, 0) {
        let _ = random.write(seed);
        let _ = call3(number::IOCTL, random.0 as usize, RESEED, 0);
    }
}

const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

fn set_blocked(mask: u64) {
    const SET_MASK: usize = 2;
    let _ = call(number::RT_SIGPROCMASK, [SET_MASK, &raw const mask as usize, 0, size_of::<u64>(), 0, 0]);
}

/// Lets every signal do what it does by itself, whatever the parent ignored.
pub fn reset_signals() {
    let default = [0_usize; 4];
    for signal in 1..=LAST_SIGNAL {
        let _ = call(number::RT_SIGACTION, [signal, default.as_ptr() as usize, 0, size_of::<u64>(), 0, 0]);
    }
    set_blocked(0);
}

/// Returns a file that can be read when a child has ended; keeps a pipe without readers from ending this program.
pub fn watch_children() -> Result<File, Errno> {
    const NEW: usize = usize::MAX;
    set_blocked(bit(SIGCHLD) | bit(SIGPIPE));
    let mask = bit(SIGCHLD);
    let flags = CLOSE_ON_EXEC | NONBLOCK;
    call(number::SIGNALFD4, [NEW, &raw const mask as usize, size_of::<u64>(), flags, 0, 0]).map(File::of)
}

/// Returns memory full of zeros, or null.
pub fn map(size: usize) -> *mut u8 {
    const READ_AND_WRITE: usize = 3;
    const PRIVATE: usize = 0x22;
    let address = call(number::MMAP, [0, size, READ_AND_WRITE, PRIVATE, usize::MAX, 0]);
    address.map_or(core::ptr::null_mut(), |address| address as *mut u8)
}

/// # Safety
/// Nothing may use this memory any more, which came from [`map`].
pub unsafe fn unmap(address: *mut u8, size: usize) {
    let _ = call3(number::MUNMAP, address as usize, size, 0);
}

/// The words and the variables that the program was started with.
pub struct Start {
    stack: *const usize,
}

impl Start {
    fn count(&self) -> usize {
        // SAFETY: the kernel puts the number of words here, then the words, 0, the variables, and 0.
        unsafe { *self.stack }
    }

    pub fn words(&self) -> impl Iterator<Item = Text<'static>> {
        (1..=self.count()).map(|index| self.text_at(index))
    }

    pub fn variables(&self) -> impl Iterator<Item = Text<'static>> {
        let first = self.count() + 2;
        // SAFETY: as above.
        (first..).take_while(|index| unsafe { *self.stack.add(*index) } != 0).map(|index| self.text_at(index))
    }

    fn text_at(&self, index: usize) -> Text<'static> {
        // SAFETY: as above; each text ends in a zero, and stays as long as the program.
        unsafe {
            let address = *self.stack.add(index) as *const u8;
            Text(core::slice::from_raw_parts(address, bytes::strlen(address) + 1))
        }
    }
}

global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {begin}", begin = sym begin);

extern "C" fn begin(stack: *const usize) -> ! {
    crate::main(&Start { stack })
}

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}

/// What the compiler calls for copies and comparisons, which a C library would have.
mod bytes {
    use core::arch::asm;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _) };
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        if (to as usize).wrapping_sub(from as usize) >= length {
            // SAFETY: the caller's promise; the end of one is not in the other.
            return unsafe { memcpy(to, from, length) };
        }
        // SAFETY: the caller's promise. From the end, since the target begins within the source.
        unsafe {
            asm!("std", "rep movsb", "cld", inout("rcx") length => _, inout("rdi") to.add(length).wrapping_sub(1) => _,
                 inout("rsi") from.add(length).wrapping_sub(1) => _);
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") value as u8) };
        to
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
        // SAFETY: the caller's promise. A plain read would be taken for a call of this very function.
        (0..).take_while(|offset| unsafe { core::ptr::read_volatile(text.add(*offset)) } != 0).count()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
        for index in 0..length {
            // SAFETY: the caller's promise. As above.
            let (one, other) = unsafe { (core::ptr::read_volatile(one.add(index)), *other.add(index)) };
            if one != other {
                return i32::from(one) - i32::from(other);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { memcmp(one, other, length) }
    }
}
