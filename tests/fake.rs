//! The command line on the fake hypervisor.

use crate::support::Test;

#[test]
fn the_binary_runs_again_in_the_same_directory() {
    let first = Test::new().file("kept", "here").args(["--help"]).any_stdout().any_stderr().run();
    let second = first.again().args(["--help"]).any_stdout().any_stderr().run();
    assert_eq!(second.read("kept"), "here");
}

#[test]
#[should_panic(expected = "status: 0, expected 3")]
fn a_run_that_does_something_else_fails_its_test() {
    Test::new().args(["--help"]).any_stdout().any_stderr().status(3).run();
}
