//! Operations in a real guest.

use super::lab::Lab;

/// Runs a step in a branch of the tiny image; what it prints is the test's answer.
fn step(lab: &Lab, body: &str) -> String {
    let script = format!(
        "machine(MACHINE, {{ image = tiny {{}}, memory = \"256MiB\" }}):root('base'):branch('child', function(guest)\n\
         {body}\nend)"
    );
    lab.script(&script).any_stdout().any_stderr().run().stdout
}

#[test]
#[ignore = "needs QEMU"]
fn commands_run_in_both_forms_with_every_option() {
    let lab = Lab::new("commands");
    let printed = step(
        &lab,
        r#"
        local r = guest:run("echo out; echo err >&2; exit 3", { check = false })
        print(r.status, r.ok, r.stdout, r.stderr)
        print(guest:run({ "echo", "a  b", "$HOME", "'q'", "" }).stdout)
        print(guest:run("cat", { stdin = "in\0\255put" }).stdout == "in\0\255put")
        print(guest:run("wc -c", { stdin = string.rep("x", 3000000) }).stdout)
        print(guest:run("pwd; echo $A-$B; id -un", { cwd = "/usr", env = { A = "1 2", B = "é" }, user = "nobody" }).stdout)
        print(guest:run("kill -9 $$", { check = false }).status)
        print(#guest:run("head -c 5000000 /dev/zero").stdout)
        print(guest:run("i=0; while [ $i -lt 5 ]; do echo $i; sleep 0.4; i=$((i+1)); done").stdout)
        print(pcall(guest.run, guest, "sleep 60", { timeout = 2 }))
        print(guest:run("ps | grep -c '[s]leep 60'", { check = false }).stdout)
        "#,
    );
    let expected = "3\tfalse\tout\n\terr\n\na  b $HOME 'q' \n\ntrue\n3000000\n\n/usr\n1 2-é\nnobody\n\n137\n5000000\n\
                    0\n1\n2\n3\n4\n\nfalse\tscript.lua:12: run \"sleep 60\" timed out after 2s in `child`\n\
                    hint: raise the option `timeout`, such as timeout = \"30m\"\n0\n\n";
    assert_eq!(printed, expected);
}

#[test]
#[ignore = "needs QEMU"]
fn files_of_every_size_go_both_ways_intact() {
    let lab = Lab::new("bytes");
    let big = lab.store.join("big");
    let mut bytes = Vec::with_capacity(100 << 20);
    let mut state = 88172645463325252u64;
    while bytes.len() < 100 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(&big, &bytes).unwrap();
    let back = lab.store.join("back");
    let printed = step(
        &lab,
        &format!(
            r#"
            guest:write("/root/empty", "")
            local all = {{}}
            for byte = 0, 255 do all[#all + 1] = string.char(byte) end
            all = table.concat(all)
            guest:write("/root/binary", all, {{ mode = "0640", owner = "nobody:nogroup" }})
            print(#guest:read("/root/empty"), guest:read("/root/binary") == all)
            print(guest:run("stat -c '%a %U %G' /root/binary").stdout)
            guest:push("{big}", "/root/big")
            guest:pull("/root/big", "{back}")
            print(guest:run("sha256sum < /root/big").stdout)
            print(pcall(guest.read, guest, "/nowhere"))
            print(pcall(guest.write, guest, "/nowhere/x", "y"))
            "#,
            big = big.display(),
            back = back.display(),
        ),
    );
    assert!(std::fs::read(&back).unwrap() == bytes, "100 MiB came back changed");
    let sum = std::process::Command::new("sha256sum").arg("-b").stdin(std::fs::File::open(&big).unwrap()).output();
    let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
    let sum = sum.split_whitespace().next().unwrap();
    assert_eq!(
        printed,
        format!(
            "0\ttrue\n640 nobody nogroup\n\n{sum}  -\n\n\
             false\tscript.lua:13: cannot read `/nowhere` in the guest: No such file or directory\n\
             false\tscript.lua:14: cannot write `/nowhere/x` in the guest: No such file or directory\n"
        )
    );
}

#[test]
#[ignore = "needs QEMU"]
fn waits_end_when_what_they_wait_for_is_there() {
    let lab = Lab::new("waits");
    let printed = step(
        &lab,
        r#"
        guest:run "(sleep 2; touch /run/there; httpd -p 8080; sleep 2; touch /run/ready) >/dev/null 2>&1 &"
        guest:wait_for_file("/run/there")
        guest:wait_for_port(8080)
        guest:wait_until_succeeds("test -e /run/ready")
        print "all there"
        print(pcall(guest.wait_for_port, guest, 9, { timeout = 1 }))
        print(pcall(guest.wait_for_unit, guest, "x.service", { timeout = 1 }))
        "#,
    );
    let hint = "hint: raise the option `timeout`, such as timeout = \"30m\"";
    let (there, rest) = printed.split_once('\n').unwrap();
    assert_eq!(there, "all there");
    let (port, unit) = rest.split_once("\nfalse").unwrap();
    assert_eq!(port, format!("false\tscript.lua:8: wait for port 9 timed out after 1s in `child`\n{hint}"));
    assert!(unit.contains("needs systemd in the guest"), "{unit}");
}

#[test]
#[ignore = "needs QEMU"]
fn a_reboot_keeps_the_disk_and_restarts_the_system() {
    let lab = Lab::new("reboot");
    let printed = step(
        &lab,
        r#"
        local function boot() return guest:read("/proc/sys/kernel/random/boot_id") end
        guest:write("/root/kept", "on the disk")
        guest:write("/run/lost", "in memory")
        local before = boot()
        guest:reboot()
        print(boot() ~= before, guest:read("/root/kept"), guest:run("test -e /run/lost", { check = false }).ok)
        guest:sync()
        print(guest:time() > 1.6e9, guest:info().kernel ~= nil)
        "#,
    );
    assert_eq!(printed, "true\ton the disk\tfalse\ntrue\ttrue\n");
}

#[test]
#[ignore = "needs QEMU"]
fn exec_passes_everything_through() {
    let lab = Lab::new("exec");
    lab.script("machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root 'base'").any_stderr().run();
    lab.exec("base", &["sh", "-c", "cat; echo err >&2; exit 42"])
        .stdin("from stdin\n")
        .status(42)
        .stdout("from stdin\n")
        .stderr("err\n")
        .run();
    lab.exec("base", &["no such program"]).status(127).any_stderr().run();
    lab.snaptree(&[
        "exec",
        "--user",
        "nobody",
        "-w",
        "/usr",
        "-e",
        "A=1",
        &format!("{}/base", lab.machine),
        "--",
        "sh",
        "-c",
        "id -un; pwd; echo $A",
    ])
    .stdout("nobody\n/usr\n1\n")
    .run();
    lab.assert_no_clone_is_left();
}
