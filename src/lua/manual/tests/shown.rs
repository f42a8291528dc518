//! What `help` prints, to the letter.

use crate::lua::manual::{Kind, Manual};

const BRANCH: &str = r#"snapshot:branch(name, step, options?) -> snapshot

Returns the child of this name, which the step makes in a clone of this snapshot. It is built only
when it is not there yet, or when the step does something else than the one that made it.

Arguments:
  name  string             The snapshot's name; each in a tree is used once.
  step  fun(guest: guest)  What makes it. It is known by its operations.

Options:
  comment      string         ""                        Any text.
  live         boolean        where the host can        Whether the snapshot has the guest's RAM, so
                                                        that forks and branches go on where the step
                                                        ended instead of booting; with true it is an
                                                        error where the host cannot.
  inputs       table<string, string|number|boolean>
                              -                         What the step depends on that no operation
                                                        shows, by name; when one changes, the branch
                                                        is built again.
  max_age      string|number  -                         How old the snapshot may be, such as "7d";
                                                        an older one is built anew.
  timeout      string|number  -                         How long the whole step may take, once its
                                                        builder has booted.
  resume       boolean        true                      Whether a build may go on from what an
                                                        earlier build of this branch has done.
  keep_failed  boolean        as `run --on-error` says  Whether what is left of the step is kept
                                                        when it fails.

Example:
  local db = sn01:branch("mariadb", function(guest)
    require("mariadb").install(guest)
  end, { comment = "fresh server", timeout = "20m" })
"#;

const FORK: &str = r#"type fork: guest

A throw-away running clone of a snapshot, with a disk of its own. It is a guest too, and has every
call of one. It goes when it is closed, when its scope ends (`local fork <close>`), or with the
script.

Fields:
  name    string    The name of its domain.
  parent  snapshot  The snapshot that it was made of.

Methods:
  fork:forward               Lets a port of 127.0.0.1 lead to a TCP port of the guest while the fork
                             is there, and returns it (`hostfwd_add`).
  fork:snapshot              Puts the fork as it is now into the tree, as a branch of its parent
                             with what was done in it; it runs on.
  fork:close                 Ends the fork; nothing of it is kept.
  guest:run                  Runs a command: a line with `/bin/sh -c`, or a list of words without a
                             shell.
  guest:write                Replaces a file of the guest.
  guest:read                 Returns the content of a file of the guest.
  guest:push                 Copies a file of the host into the guest.
  guest:pull                 Copies a file of the guest to the host.
  guest:wait_for_unit        Waits until systemd says that the unit is active; a failed unit is an
                             error with the end of its log.
  guest:wait_for_port        Waits until something listens on the TCP port in the guest.
  guest:wait_for_file        Waits until the path exists in the guest.
  guest:wait_until_succeeds  Runs a command again and again until its status is 0.
  guest:reboot               Restarts the system and waits until it answers.
  guest:sync                 Writes what is in memory to the disks.
  guest:time                 Returns the guest's clock, in seconds since the epoch.
  guest:info                 Returns what the guest agent tells of the operating system: `id`,
                             `version_id`, `kernel`, ...
"#;

const OVERVIEW: &str = r#"In a script and at the prompt:
  debug     What there is of Lua's own library for debugging.
  host      What a script reads of the host.
  image     Where images come from.
  libvirt   Further connections than the one that snaptree was started with.
  machine   Declares a domain that owns a tree.
  parallel  Runs functions at the same time and returns what each returned, under its key.
  param     Returns what `--set name=value` of `run` and `plan` gives, or the default.

Only at the prompt:
  guest     The guest of the working fork.
  use       Gives a working fork of a snapshot, in which each line acts at once.
  back      Undoes the last operations in the working fork.
  snapshot  RamPolicy the present of the working fork as a branch of its snapshot.
  revert    Starts the working fork anew from its snapshot, or from another one.
  undo      Undoes the last change of the machine's tree: a deletion or a revert.
  tree      Draws the tree of the machine in use, or of the named one.
  help      Explains a function, a type, a module or a value.
  show      Prints a value in full.
  retry     Runs the step that failed again, from its parent.

Modules, such as `local apt = require "apt"`:
  apt            Installs packages in Debian and Ubuntu guests.
  images.boot    A small initramfs and a disk made from a tree of files, for image builders.
  images.debian  A small but normal Debian with systemd, apt, the QEMU guest agent and DHCP on eth0.
  images.tiny    A guest that boots in seconds even without KVM.
  mariadb        A MariaDB server in a Debian guest, installed, running and answering.
  postgresql     A PostgreSQL server in a Debian guest, installed, running and answering.
  snaptree       Checks for Lua modules of your own, such as the ones in the binary make.

Types of values:
  connection  A connection to a hypervisor.
  error       What `pcall` gives when a call of snaptree's failed.
  fork        A throw-away running clone of a snapshot, with a disk of its own.
  guest       The system inside a machine, over the QEMU guest agent.
  image       A disk that a machine begins with.
  machine     A machine: a domain of a connection, by name, whoever made it.
  snapshot    A snapshot of a machine, by name.
  work        The directory of the host in which the `build` function of `image.build` works.

At the prompt, the methods of the guest need no receiver: run, write, read, push, pull,
wait_for_unit, wait_for_port, wait_for_file, wait_until_succeeds, reboot, sync, time, info.

help "machine" tells more of one, help "snapshot:branch" of one of its functions.
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
