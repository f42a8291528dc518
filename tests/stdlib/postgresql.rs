//! `require "postgresql"`.

use serde_json::json;

use super::{in_guest, refuses};

#[test]
fn install_returns_when_the_server_answers() {
    let ran = in_guest(
        "local postgresql = require 'postgresql'
         postgresql.install(guest, { version = '15', packages = { 'postgresql-15-postgis-3' } })
         print(postgresql.version(guest))",
        json!([
            { "command": "apt-cache policy postgresql-15", "stdout": "  Candidate: 15.14-0+deb12u1\n" },
            { "command": "*select 1*", "status": 2, "times": 1 },
            { "command": "*show server_version*", "stdout": "15.14 (Debian 15.14-0+deb12u1)\n" },
        ]),
    );
    assert_eq!(ran.stdout, "15.14 (Debian 15.14-0+deb12u1)\n");
    let psql = |query: &str| format!("cd / && su postgres -c 'psql -X -t -A -c \"{query}\"'");
    assert!(ran.executed()[3].ends_with(" -- postgresql-15 postgresql-15-postgis-3"), "{:?}", ran.executed());
    let expected = [
        "systemctl enable --now postgresql.service".to_string(),
        psql("select 1"),
        psql("select 1"),
        psql("show server_version"),
        psql("show server_version"),
    ];
    assert_eq!(ran.executed()[4..], expected);
}

#[test]
fn a_version_that_the_guest_cannot_install_is_refused() {
    refuses(
        "require('postgresql').install(guest, { version = '9' })",
        "postgresql: there is no version `9` to install: this guest's Debian has no package postgresql-9\nhint: give the",
    );
    refuses(
        "require('postgresql').install(guest, { bind_address = '' })",
        "postgresql.install: unknown option `bind_address`",
    );
}
