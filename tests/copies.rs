//! `snaptree cp`: what it refuses before anything is started.

use crate::support::Test;

#[test]
fn one_side_of_a_copy_is_in_a_guest_that_runs() {
    let lab = Test::new()
        .script("machine('lab', { image = require 'images.tiny' {} }):root 'base'")
        .args(["run", "script.lua"])
        .any_stderr()
        .run();
    for (sides, status, error) in [
        (
            ["a", "b"],
            2,
            "error: neither side is in a guest\nhint: write NAME:PATH for one of them, as in `snaptree cp file MACHINE:/root`\n",
        ),
        (
            ["lab:/a", "lab:/b"],
            2,
            "error: both sides are in guests\nhint: copy to the host first, or pipe one cp into another\n",
        ),
        (
            ["a", "lab/base:/b"],
            2,
            "error: lab/base is a snapshot, which does not change\n\
             hint: start a fork with `snaptree fork lab/base`, and copy into that\n",
        ),
        (
            ["lab:/a", "b"],
            1,
            "error: `lab` is not running\nhint: start it with `virsh start lab`, or name a snapshot, as in lab/SNAPSHOT\n",
        ),
        (
            ["-", "nothing:/b"],
            1,
            "error: there is no machine `nothing` on fake:state.json\nhint: `snaptree tree` lists what there is\n",
        ),
    ] {
        lab.again().args(["cp", sides[0], sides[1]]).status(status).stderr(error).run();
    }
    assert_eq!(lab.domains(), ["lab"]);
}
