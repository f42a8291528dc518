//! The exact text that `help` prints.

use crate::lua::manual::{Kind, Manual};

const BRANCH: &str = r#"snapshot:branch(name, step, options?) -> snapshot

Returns the child of this name, which the step builds in a clone of this snapshot. It is built only
if it does not exist yet, or if the step does something different from the one that built it.

Arguments:
  name  string             The snapshot's name, unique in its tree.
  step  fun(guest: guest)  The function that builds it. snaptree identifies it by its operations.

Options:
  comment      string         ""                        Any text.
  live         boolean        where the host can        Whether the snapshot contains the guest's
                                                        RAM, so that forks and branches resume where
                                                        the step ended instead of booting; true is
                                                        an error if the host cannot.
  inputs       table<string, string|number|boolean>
                              -                         Inputs of the step that no operation shows,
                                                        by name; if one changes, the branch is
                                                        rebuilt.
  max_age      string|number  -                         The maximum age of the snapshot, such as
                                                        "7d"; an older one is rebuilt.
  timeout      string|number  -                         How long the whole step may take, once its
                                                        builder has booted.
  resume       boolean        true                      Whether a build may resume from an earlier
                                                        build of this branch.
  keep_failed  boolean        as `run --on-error` says  Whether a failed step is kept.

Example:
  local db = sn01:branch("mariadb", function(guest)
    require("mariadb").install(guest)
  end, { comment = "fresh server", timeout = "20m" })
"#;

const FORK: &str = r#"type fork: guest

A throw-away running clone of a snapshot, with a disk of its own. It is also a guest, with all of a
guest's methods. It ends when it is closed, when its scope ends (`local fork <close>`), or with the
script.

Fields:
  name    string    The name of its domain.
  parent  snapshot  The snapshot that it was made from.

Methods:
  fork:forward               Forwards a port on 127.0.0.1 to a TCP port in the guest while the fork
                             exists, and returns the host's port.
  fork:forward_back          Forwards a TCP port on 127.0.0.1 in the guest to one on the host's
                             127.0.0.1 while the fork exists, on any network, and returns the
                             guest's port.
  fork:snapshot              Adds the fork's present state to the tree, as a branch of its parent
                             with the recorded operations; the fork keeps running, with its
                             forwarded ports.
  fork:close                 Ends the fork and deletes its disk.
  guest:run                  Runs a command: a line with `/bin/sh -c`, or a list of words without a
                             shell.
  guest:write                Writes a file in the guest, replacing an existing one.
  guest:read                 Returns the content of a file in the guest.
  guest:push                 Copies a file or a directory from the host into the guest.
  guest:pull                 Copies a file or a directory from the guest to the host.
  guest:sync_dir             Makes a directory in the guest the same as one on the host, by sending
                             only what differs.
  guest:wait_for_unit        Waits until systemd reports the unit as active; a failed unit is an
                             error with the end of its log.
  guest:wait_for_port        Waits until something listens on the TCP port in the guest.
  guest:wait_for_file        Waits until the path exists in the guest.
  guest:wait_until_succeeds  Runs a command repeatedly until its status is 0.
  guest:expect               Waits until what the serial console printed since the last match
                             matches a regular expression; `$` is the end of what has come so far.
  guest:send                 Types a text into the serial console.
  guest:screen               Returns the visible text of the serial console: at most 24 rows of 80
                             columns, of what was printed since it was opened.
  guest:reboot               Restarts the system and waits until it answers.
  guest:sync                 Flushes cached writes to the disks.
  guest:time                 Returns the guest's clock, in seconds since the epoch.
  guest:info                 Returns what the guest agent reports about the operating system: `id`,
                             `version_id`, `kernel`, ...
"#;

const OVERVIEW: &str = r#"In a script and at the prompt:
  debug     The available part of Lua's own library for debugging.
  host      Reads files and variables of the host.
  image     Where images come from.
  libvirt   Connections other than the one that snaptree was started with.
  machine   Declares a domain that owns a tree.
  parallel  Runs functions at the same time and returns each result under its function's key.
  param     Returns the value of `--set name=value` of `run` and `plan`, or the default.

Only at the prompt:
  guest     The guest of the working fork.
  use       Starts a working fork of a snapshot, on which each line acts at once.
  back      Undoes the last operations in the working fork.
  snapshot  Adds the present state of the working fork to the tree, as a branch of its snapshot with
            the recorded operations.
  revert    Restarts the working fork from its snapshot, or from another one.
  undo      Undoes the last change to the machine's tree: a deletion or a revert.
  tree      Draws the tree of the machine in use, or of the named one.
  help      Explains a function, a type, a module or a value.
  show      Prints a value in full.
  retry     Runs the failed step again, from its parent.

Modules, such as `local apt = require "apt"`:
  apt            Installs packages in Debian and Ubuntu guests.
  images.boot    A small initramfs and a disk made from a tree of files, for image builders.
  images.debian  A small but normal Debian with systemd, apt, the QEMU guest agent and DHCP on eth0.
  images.tiny    A guest that boots in seconds even without KVM.
  mariadb        A MariaDB server in a Debian guest, installed, running and answering.
  postgresql     A PostgreSQL server in a Debian guest, installed, running and answering.
  snaptree       Checks for Lua modules of your own, the same as those of the built-in modules.

Types of values:
  connection  A connection to a hypervisor.
  error       What `pcall` returns when a call to snaptree fails.
  fork        A throw-away running clone of a snapshot, with a disk of its own.
  guest       The system inside a machine, reached through the QEMU guest agent.
  image       A description of a disk that a machine starts with.
  machine     A machine: any domain of a connection, by name.
  snapshot    A snapshot of a machine, by name.
  work        The directory on the host in which the `build` function of `image.build` works.

At the prompt, the methods of the guest need no receiver: run, write, read, push, pull, sync_dir,
wait_for_unit, wait_for_port, wait_for_file, wait_until_succeeds, expect, send, screen, reboot,
sync, time, info.

help "machine" explains a type, help "snapshot:branch" one of its functions.
"#;

#[test]
fn a_function_is_told_with_its_options_and_an_example() {
    assert_eq!(Manual::embedded().text("snapshot:branch").unwrap(), BRANCH);
}

#[test]
fn a_type_is_told_with_its_members() {
    assert_eq!(Manual::embedded().text("fork").unwrap(), FORK);
}

#[test]
fn the_overview_lists_all_that_has_no_owner() {
    assert_eq!(Manual::embedded().overview(), OVERVIEW);
}

#[test]
fn what_has_one_name_is_told_together() {
    let manual = Manual::embedded();
    let kinds = |name| manual.entries(name).into_iter().map(|entry| entry.kind).collect::<Vec<_>>();
    assert_eq!(kinds("machine"), [Kind::Function, Kind::Class]);
    assert_eq!(manual.entry("machine").unwrap().kind, Kind::Function);
    assert_eq!(manual.entry("snapshot").unwrap().kind, Kind::Class, "that of the prompt comes last");
    let text = manual.text("machine").unwrap();
    assert!(text.starts_with("machine(name, options) -> machine\n") && text.contains("\ntype machine\n"), "{text}");
    assert!(manual.text("guest.Result").unwrap().contains("  status  integer  The exit status.\n"));
    assert_eq!(manual.text("nosuch"), None);
}

#[test]
fn names_are_found_as_one_may_write_them() {
    let manual = Manual::embedded();
    for (asked, found) in [
        ("snapshot:branch", "snapshot:branch"),
        ("snapshot.branch", "snapshot:branch"),
        ("snapshot.name", "snapshot.name"),
        ("fork:run", "guest:run"),
        ("images.debian", "images.debian"),
        ("images.debian.suites", "images.debian.suites"),
        ("apt.install", "apt.install"),
    ] {
        assert_eq!(manual.entry(asked).map(|entry| entry.name.as_str()), Some(found), "{asked}");
    }
    assert_eq!(manual.entry("snapshot:brunch"), None);
    assert_eq!(manual.nearest("snapshot:brunch"), Some("snapshot:branch"));
}

#[test]
fn a_signature_is_a_call() {
    for (name, signature) in [
        ("param", "param(name, default?) -> string|number|boolean"),
        ("machine:destroy", "machine:destroy()"),
        ("snapshot.parent", "snapshot.parent: snapshot?"),
        ("apt", "require \"apt\""),
        ("images.tiny", "require(\"images.tiny\")(options?) -> image"),
        ("host", "host"),
    ] {
        assert_eq!(Manual::embedded().entry(name).unwrap().signature(), signature);
    }
}
