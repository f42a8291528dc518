//! A terminal in a real guest.

use std::time::Duration;

use super::lab::Lab;
use crate::support::terminal;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
#[ignore = "needs QEMU"]
fn a_shell_is_a_terminal_in_a_fork() {
    let lab = Lab::new("shell");
    lab.script("machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root 'base'").any_stderr().run();
    let line = format!("stty -echo; stty -g; $SNAPTREE shell {}/base; echo status $?; stty -g", lab.machine);
    let mut shell = terminal::open_within(&lab.snaptree(&[]), &line, LIMIT);
    let before = shell.read_line().unwrap();
    shell.exp_string(&format!("Connected to {}/base. The leave key is Ctrl-].\r\n", lab.machine)).unwrap();
    shell.exp_string("tiny:~# ").unwrap();
    let mut ask = |line: &str, answer: &str, then: &str| {
        terminal::type_in(&mut shell, &format!("{line}\r"));
        shell.exp_string(answer).unwrap_or_else(|error| panic!("{line}: {error}"));
        terminal::type_in(&mut shell, then);
        shell.exp_string("tiny:~# ").unwrap_or_else(|error| panic!("{line}: {error}"));
    };
    ask("echo $((6*7))", "\n42\r\n", "");
    ask("tty; id -un; echo $LANG", "\n/dev/pts/0\r\nroot\r\nC.UTF-8\r\n", "");
    ask("stty size", "\n24 80\r\n", "");
    ask("echo up; sleep 100", "\nup\r\n", "\u{3}");
    terminal::resize(&shell, 50, 132);
    let resized = (0..50).any(|_| {
        terminal::type_in(&mut shell, "stty size\r");
        let (_, size) = shell.exp_regex("[0-9]+ [0-9]+\r\n").unwrap();
        shell.exp_string("tiny:~# ").unwrap();
        size == "50 132\r\n"
    });
    assert!(resized, "the guest never learns the new size");
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string(&format!("Left {}/base.\r\nstatus 0\r\n", lab.machine)).unwrap();
    assert_eq!(shell.read_line().unwrap(), before, "the terminal is as it was");
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_that_powers_off_ends_the_shell_and_the_console() {
    let lab = Lab::new("poweroff");
    lab.script("machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root 'base'").any_stderr().run();
    let open = |command: &str, target: &str| {
        let line = format!("$SNAPTREE {command} {target}; echo status $?");
        terminal::open_within(&lab.snaptree(&[]), &line, LIMIT)
    };
    for command in ["shell", "console"] {
        let mut shell = open(command, &format!("{}/base", lab.machine));
        shell.exp_string("tiny:~# ").unwrap();
        terminal::type_in(&mut shell, "poweroff\r");
        shell.exp_string(&format!("{}/base has shut down.\r\nstatus 0\r\n", lab.machine)).unwrap();
        lab.assert_no_clone_is_left();
    }

    lab.virsh(&["start", &lab.machine]);
    let mut shell = open("console", &lab.machine);
    shell.exp_string(&format!("Connected to {}. The leave key is Ctrl-].\r\n", lab.machine)).unwrap();
    let taken = format!(
        "error: cannot open the console of `{}`: Active console session exists for this domain\n\
         hint: it is open in `virsh console` or `snaptree console`; `virsh console NAME --force` takes it over\n\
         status 1\n",
        lab.machine
    );
    assert_eq!(open("console", &lab.machine).exp_eof().unwrap().replace('\r', ""), taken);
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string(&format!("Left {}.\r\nstatus 0\r\n", lab.machine)).unwrap();
    assert_eq!(lab.virsh(&["domstate", &lab.machine]).trim(), "running");
    let mut shell = open("shell", &lab.machine);
    shell.exp_string("tiny:~# ").unwrap();
    terminal::type_in(&mut shell, "exit 7\r");
    shell.exp_string(&format!("Left {}.\r\nstatus 7\r\n", lab.machine)).unwrap();
    // It is free again.
    open("console", &lab.machine).exp_string("Connected to").unwrap();
}
