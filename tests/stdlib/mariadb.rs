//! `require "mariadb"`.

use serde_json::json;

use super::{in_guest, refuses_with};
use crate::support::Test;

#[test]
fn a_users_name_and_password_are_quoted_for_the_database() {
    let script = r#"
        local mariadb = require "mariadb"
        local guest = { run = function(_, argv, options) print(argv[1] .. ": " .. options.stdin:sub(1, -2)) end }
        mariadb.create_user(guest, "o'hara", { password = [[a\b'c]] })
        print(select(2, pcall(mariadb.create_user, guest, "o'hara")))
    "#;
    Test::new()
        .script(script)
        .args(["run", "script.lua"])
        .stdout(
            "mariadb: create or replace user 'o''hara'@'%' identified by 'a\\\\b''c'; \
             grant all privileges on *.* to 'o''hara'@'%';\n\
             mariadb.create_user: there is no password\n\
             hint: mariadb.create_user(guest, name, { password = ... })\n",
        )
        .run();
}

#[test]
fn install_returns_when_the_server_answers() {
    let ran = in_guest(
        "local mariadb = require 'mariadb'
         mariadb.install(guest, { version = '10.11', packages = { 'mariadb-backup' }, bind_address = '0.0.0.0' })
         print(mariadb.version(guest))",
        json!([
            { "command": "apt-cache policy *", "stdout": "  Candidate: 1:10.11.6-0+deb12u1\n" },
            { "command": "mariadb -e *", "status": 1, "times": 1 },
            { "command": "mariadb -N *", "stdout": "10.11.6-MariaDB\n" },
        ]),
    );
    assert_eq!(ran.stdout, "10.11.6-MariaDB\n");
    let after_apt = ran.executed().split_off(4);
    assert!(ran.executed()[3].ends_with(" -- mariadb-server mariadb-backup"), "{:?}", ran.executed());
    let expected = [
        "systemctl restart mariadb.service",
        "systemctl enable --now mariadb.service",
        // Not all waits are commands: that for the unit is not.
        "mariadb -e 'select 1'",
        "mariadb -e 'select 1'",
        "mariadb -N -B -e select version()",
        "mariadb -N -B -e select version()",
    ];
    assert_eq!(after_apt, expected);
}

#[test]
fn a_version_that_the_guest_cannot_install_is_refused() {
    let answers = json!([{ "command": "apt-cache policy *", "stdout": "  Candidate: 1:10.11.6-0+deb12u1\n" }]);
    let none = "this guest's Debian has none";
    for (answers, has) in [(json!([]), none), (answers, "this guest's Debian has 10.11.6-0+deb12u1")] {
        refuses_with(
            answers,
            "require('mariadb').install(guest, { version = '10.1' })",
            &format!("mariadb: there is no version `10.1` to install: {has}\nhint: another suite, "),
        );
    }
}
