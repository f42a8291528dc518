//! Guests that are busy with something else.

use serde_json::json;

use crate::support::{DISK, Test};

#[test]
fn a_command_that_fails_for_another_reason_is_not_run_again() {
    let script = "
        machine('lab', { image = image.file('i.qcow2') }):root('base'):branch('web', function(guest)
          local got = guest:run('apk add x', { retry_on = { 'lock', 'busy' }, check = false })
          print(got.status, got.stderr)
          print(pcall(guest.run, guest, 'true', { retry_on = { '' } }))
        end)";
    let ran = Test::new()
        .file("i.qcow2", DISK)
        .script(script)
        .answers(json!([{ "command": "apk add x", "status": 99, "stderr": "no network" }]))
        .args(["run", "script.lua"])
        .any_stderr()
        .stdout(
            "99\tno network\nfalse\tscript.lua:4: guest:run: `retry_on` must be a string or a list of strings, none of them \
             empty, not a table\n",
        )
        .run();
    assert_eq!(ran.executed(), ["apk add x"]);
}
