/* Waits in a guest's memory while that is frozen, to wake the guest when it resumes elsewhere and to run a command there at
 * once. It needs nothing of the guest but its kernel, so that it is ready in no time, even if the processor is emulated.
 * build.rs compiles it.
 *
 *   waker PORT           opens a port of a virtio-serial card and waits there, in a process of its own
 *   waker SECONDS SEED   wakes the guest and ends
 *
 * Both ends of the port speak in frames: a letter, a length in four bytes (little endian), and as many bytes.
 *
 *   W  seconds (8 bytes), nanoseconds (4 bytes), seed
 *                                Wake: set the clock and reseed the kernel's random numbers, since another guest may
 *                                resume from the same state. Answered by
 *   w  2 bytes                   whether the clock was set, and 1: this program takes a command's input while it runs.
 *   R  number of words (4 bytes), directory, words, each ended by a 0
 *                                Run a command. Followed by
 *   I  bytes                     some of its input, at most 16 KiB; none at the end of it. Answered by
 *   o, e  bytes                  some of its output or of its errors, while it runs, and
 *   x  status (4 bytes)          when it has ended: as a shell has it.
 *   h                            Here I am: sent before each request that is waited for.
 *   u                            Unknown: to a letter that is not understood.
 */

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/mman.h>
#include <linux/random.h>
#include <linux/time.h>
#include <linux/wait.h>

enum { STDIN, STDOUT, STDERR };
enum { CANNOT_ENTER = 126, CANNOT_RUN = 126, NOT_FOUND = 127 };
enum { HEADER = 5, PIECE = 16 << 10, LONGEST_PATH = 4096 };

static long call(long number, long first, long second, long third, long fourth, long fifth)
{
    register long r10 __asm__("r10") = fourth;
    register long r8 __asm__("r8") = fifth;
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL5(name, a, b, c, d, e) call(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define CALL4(name, a, b, c, d) CALL5(name, a, b, c, d, 0)
#define CALL(name, a, b, c) CALL4(name, a, b, c, 0)

static void __attribute__((noreturn)) end(int status)
{
    for (;;)
        CALL(exit_group, status, 0, 0);
}

static long length_of(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    return length;
}

static int is_same(const char *one, const char *other, long length)
{
    while (length > 0 && *one == *other)
        one++, other++, length--;
    return length == 0;
}

static int write_all(long file, const char *bytes, long length)
{
    while (length > 0) {
        long written = CALL(write, file, bytes, length);
        if (written == -EINTR)
            continue;
        if (written <= 0)
            return 0;
        bytes += written;
        length -= written;
    }
    return 1;
}

static int read_all(long file, char *bytes, long length)
{
    while (length > 0) {
        long got = CALL(read, file, bytes, length);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return 0;
        bytes += got;
        length -= got;
    }
    return 1;
}

static void put_number(char *to, unsigned number)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(number >> 8 * i);
}

static unsigned number_at(const char *from)
{
    unsigned number = 0;
    for (int i = 3; i >= 0; i--)
        number = number << 8 | (unsigned char)from[i];
    return number;
}

/* The frame under way; what it carries is put behind its header. */
static char frame[HEADER + PIECE];

static int say(long port, char letter, long length)
{
    frame[0] = letter;
    put_number(frame + 1, (unsigned)length);
    return write_all(port, frame, HEADER + length);
}

static int wake(long seconds, long nanoseconds, const char *seed, long length)
{
    long time[2] = { seconds, nanoseconds };
    long random = CALL(open, "/dev/urandom", O_WRONLY | O_CLOEXEC, 0);
    CALL(write, random, seed, length);
    /* What was written counts from now on, and not from some time within a minute. */
    CALL(ioctl, random, RNDRESEEDCRNG, 0);
    CALL(close, random, 0, 0);
    return CALL(clock_settime, CLOCK_REALTIME, time, 0) == 0;
}

static void complain(const char *before, const char *name, const char *after)
{
    write_all(STDERR, before, length_of(before));
    write_all(STDERR, name, length_of(name));
    write_all(STDERR, after, length_of(after));
}

static int is_missing(long error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

/* Becomes a program, or returns why not. A file that is no program is a script of the shell. There is room for one
 * more word before the others. */
static long become(const char *file, char **words, char **environment)
{
    long failed = CALL(execve, file, words, environment);
    if (failed == -ENOEXEC) {
        words[0] = (char *)file;
        words[-1] = "sh";
        failed = CALL(execve, "/bin/sh", words - 1, environment);
    }
    return failed;
}

/* The child's part of a command. */
static void __attribute__((noreturn)) begin_command(const char *directory, char **words, char **environment)
{
    static char path[LONGEST_PATH];
    const char *places = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    const char *name = words[0];
    long length = length_of(name), failed = -ENOENT;
    int is_path = 0;

    if (*directory) {
        long refused = CALL(chdir, directory, 0, 0);
        if (refused) {
            complain("cannot enter `", directory, is_missing(refused) ? "`: no such directory\n" : "`\n");
            end(CANNOT_ENTER);
        }
    }
    for (char **variable = environment; *variable; variable++)
        if (is_same(*variable, "PATH=", 5))
            places = *variable + 5;
    for (long i = 0; i < length; i++)
        is_path |= name[i] == '/';
    if (is_path)
        failed = become(name, words, environment);
    while (!is_path && *places && *name) {
        long at = 0;
        for (; *places && *places != ':'; places++)
            if (at + length + 2 < LONGEST_PATH)
                path[at++] = *places;
        if (*places)
            places++;
        if (at > 0)
            path[at++] = '/';
        for (long i = 0; i <= length && at < LONGEST_PATH; i++)
            path[at++] = name[i];
        long why = become(path, words, environment);
        if (!is_missing(why))
            failed = why;
    }
    complain("", name, is_missing(failed) ? ": not found\n" : ": cannot be run\n");
    end(is_missing(failed) ? NOT_FOUND : CANNOT_RUN);
}

static void let_go(int *file)
{
    if (*file >= 0)
        CALL(close, *file, 0, 0);
    *file = -1;
}

/* Passes on some of what a command printed. Says how much. */
static long pass_on(long port, int *from, char letter)
{
    long got = CALL(read, *from, frame + HEADER, PIECE);
    if (got > 0 && say(port, letter, got))
        return got;
    if (got != -EINTR)
        let_go(from);
    return 0;
}

/* Passes on what is left when a command has ended. What it started may keep printing; that is not waited for. */
static void pass_on_the_rest(long port, int *from, char letter)
{
    int left = 0;
    CALL(ioctl, *from, FIONREAD, &left);
    while (left > 0 && *from >= 0)
        left -= (int)pass_on(port, from, letter);
    let_go(from);
}

/* What has arrived of a command's input and was not passed on yet. */
static char input[PIECE];

/* Takes the next piece of a command's input. Says how much that is; nothing at the end. */
static long take_input(long port)
{
    char header[HEADER];
    if (!read_all(port, header, HEADER) || header[0] != 'I')
        return 0;
    unsigned length = number_at(header + 1);
    return length <= PIECE && read_all(port, input, length) ? length : 0;
}

static int say_status(long port, unsigned status)
{
    put_number(frame + HEADER, status);
    return say(port, 'x', 4);
}

static int run(long port, char *request, char **environment)
{
    unsigned count = number_at(request);
    char *directory = request + 4, *next = directory + length_of(directory) + 1;
    int in[2], out[2], err[2], is_running = 1, status = 0;
    long taken = 0, given = 0;
    unsigned long child_ended = 1UL << (SIGCHLD - 1), mask = child_ended | 1UL << (SIGPIPE - 1);
    struct { char rest[128]; } told;

    char *words[count + 2];
    for (unsigned i = 0; i < count; i++) {
        words[i + 1] = next;
        next += length_of(next) + 1;
    }
    words[count + 1] = 0;
    if (count == 0 || CALL(pipe2, in, O_CLOEXEC, 0) || CALL(pipe2, out, O_CLOEXEC, 0) || CALL(pipe2, err, O_CLOEXEC, 0))
        return say_status(port, CANNOT_RUN);
    /* A command that does not read must not keep its output from being passed on. */
    CALL(fcntl, in[1], F_SETFL, O_WRONLY | O_NONBLOCK);

    CALL4(rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof mask);
    long ended = CALL4(signalfd4, -1, &child_ended, sizeof child_ended, O_CLOEXEC);
    long child = CALL(fork, 0, 0, 0);
    if (child == 0) {
        CALL4(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof mask);
        CALL(dup2, in[0], STDIN, 0);
        CALL(dup2, out[1], STDOUT, 0);
        CALL(dup2, err[1], STDERR, 0);
        begin_command(directory, words + 1, environment);
    }
    if (child < 0)
        is_running = 0, status = CANNOT_RUN << 8;
    CALL(close, in[0], 0, 0);
    CALL(close, out[1], 0, 0);
    CALL(close, err[1], 0, 0);
    while (is_running) {
        int is_hungry = in[1] >= 0 && given == taken;
        struct pollfd wait[5] = { { out[0], POLLIN, 0 },
                                  { err[0], POLLIN, 0 },
                                  { (int)ended, POLLIN, 0 },
                                  { is_hungry ? (int)port : -1, POLLIN, 0 },
                                  { is_hungry ? -1 : in[1], POLLOUT, 0 } };
        CALL(poll, wait, 5, -1);
        if (wait[2].revents) {
            CALL(read, ended, &told, sizeof told);
            is_running = CALL4(wait4, child, &status, WNOHANG, 0) == 0;
        }
        if (wait[0].revents)
            pass_on(port, &out[0], 'o');
        if (wait[1].revents)
            pass_on(port, &err[0], 'e');
        if (wait[3].revents) {
            given = 0;
            taken = take_input(port);
            if (taken == 0)
                let_go(&in[1]);
        }
        if (wait[4].revents) {
            long written = CALL(write, in[1], input + given, taken - given);
            if (written > 0)
                given += written;
            else if (written != -EAGAIN && written != -EINTR)
                let_go(&in[1]);
        }
    }
    let_go(&in[1]);
    pass_on_the_rest(port, &out[0], 'o');
    pass_on_the_rest(port, &err[0], 'e');
    CALL(close, ended, 0, 0);
    return say_status(port, status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}

/* Answers one request. Says whether all of it arrived; there may have been none. */
static int answer(long port, char **environment)
{
    char header[HEADER];
    int is_whole = 0;

    if (!read_all(port, header, 1))
        return 1;
    if (!read_all(port, header + 1, HEADER - 1))
        return 0;
    unsigned length = number_at(header + 1);
    /* More than it takes, with zeros, so that what is cut off ends somewhere. */
    long size = (long)length + 16;
    char *request = (char *)CALL5(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if ((unsigned long)request > -4096UL)
        return 0;
    if (read_all(port, request, length))
        switch (header[0]) {
        case 'W': {
            long seconds = (long)number_at(request) | (long)number_at(request + 4) << 32;
            frame[HEADER] = (char)wake(seconds, number_at(request + 8), request + 12, (long)length - 12);
            frame[HEADER + 1] = 1;
            is_whole = say(port, 'w', 2);
            break;
        }
        case 'R':
            is_whole = run(port, request, environment);
            break;
        case 'I':
            /* The command that it was for has ended. */
            is_whole = 1;
            break;
        default:
            is_whole = say(port, 'u', 0);
        }
    CALL(munmap, request, size, 0);
    return is_whole;
}

static void __attribute__((noreturn)) wait_at(const char *name, char **environment)
{
    long port = CALL(open, name, O_RDWR | O_CLOEXEC, 0);
    /* Another one of these waits there already. */
    if (port == -EBUSY)
        end(0);
    if (port < 0 || CALL(fork, 0, 0, 0) != 0)
        end(port < 0);

    long as_usual[4] = { 0 };
    CALL4(rt_sigaction, SIGCHLD, as_usual, 0, sizeof(long));
    CALL(setsid, 0, 0, 0);
    CALL(chdir, "/", 0, 0);
    long nothing = CALL(open, "/dev/null", O_RDWR, 0);
    for (int file = STDIN; file <= STDERR; file++)
        CALL(dup2, nothing, file, 0);
    if (nothing > STDERR)
        CALL(close, nothing, 0, 0);
    /* Writing waits until the other end is open; reading does not. It fails when the port is gone. */
    while (say(port, 'h', 0)) {
        if (answer(port, environment))
            continue;
        /* What came of half a request is not the beginning of the next one. */
        CALL(close, port, 0, 0);
        port = CALL(open, name, O_RDWR | O_CLOEXEC, 0);
    }
    end(0);
}

__attribute__((used)) static void begin(long *stack)
{
    char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
    long seconds = 0;

    if (stack[0] == 2)
        wait_at(arguments[1], environment);
    if (stack[0] != 3)
        end(1);
    for (char *digit = arguments[1]; *digit; digit++)
        seconds = seconds * 10 + (*digit - '0');
    end(!wake(seconds, 0, arguments[2], length_of(arguments[2])));
}

__asm__(".globl _start\n_start:\n    mov %rsp, %rdi\n    call begin\n");
