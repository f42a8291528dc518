//! The serial console of real guests, in scripts.

use super::lab::Lab;

#[test]
#[ignore = "needs QEMU"]
fn a_step_uses_the_console_and_is_cached_and_forks_of_it_have_one_too() {
    let lab = Lab::new("expect");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root "base"
        local child = base:branch("child", function(guest)
          guest:send "\n"
          guest:expect "tiny:.*# $"
          guest:send "echo $((6 * 7)) is it; uname -s\n"
          print(guest:expect("([0-9]+) is it\n([A-Za-z]+)\n"))
          guest:send "clear; printf '\\033[3;5Hhere'; sleep 1; touch /run/done\n"
          guest:wait_for_file "/run/done"
          print(guest:screen():match "\n    here" ~= nil)
          print(pcall(guest.expect, guest, "never", { timeout = 1 }))
        end)
    "#;
    let ran = lab.script(script).any_stdout().any_stderr().run();
    let (before, screen) = ran.stdout.split_once("\n\n").unwrap_or((&ran.stdout, ""));
    let error = "false\tscript.lua:11: expect \"never\" timed out after 1s in `child`";
    assert!(before.starts_with(&format!("42\tLinux\ntrue\n{error}\n")), "{before}\n{screen}");
    assert!(ran.stdout.contains("here") && ran.stdout.ends_with("such as timeout = \"30m\"\n"), "{}", ran.stdout);

    // The failed operation is none of the journal; without it, the step is cached and starts nothing.
    let cached = script.replace(r#"print(pcall(guest.expect, guest, "never", { timeout = 1 }))"#, "");
    let again = lab.script(&cached).args(["--frozen"]).any_stdout().any_stderr().run();
    assert_eq!(again.stdout, "42\tLinux\ntrue\n");

    let forked = r#"
        local fork <close> = machine.open(MACHINE):find("child"):fork()
        fork:send "\necho fork-$((40 + 2))\n"
        print(fork:expect "fork-[0-9]+\n")
        fork:run "true"
        fork:snapshot "kept"
        fork:send "echo after-$((1 + 1))\n"
        print(fork:expect "after-[0-9]+\n")
    "#;
    let ran = lab.script(forked).any_stderr().any_stdout().run();
    assert_eq!(ran.stdout, "fork-42\n\nafter-2\n\n");
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_is_watched_from_its_first_instruction_on_and_the_console_is_given_back() {
    let lab = Lab::new("boot");
    lab.script("machine(MACHINE, { image = tiny {}, memory = '256MiB' }):root 'base'").any_stderr().run();
    let script = r#"
        local dom = machine.open(MACHINE)
        dom:start { paused = true }
        local guest = dom:guest()
        print(guest:screen() == "")
        dom:resume()
        guest:expect("BusyBox v[0-9.]+", { timeout = "4m" })
        guest:expect "tiny:.*# $"
        dom:guest():send "echo $((1 + 2))-login\n"
        print(dom:guest():expect "([0-9])-login\n")
        print(io.popen("script -qc 'virsh -c " .. URI .. " console " .. MACHINE .. "' /dev/null 2>&1 </dev/null"):read "a")
        print(#guest:run("cat /proc/uptime").stdout > 0)
        dom:destroy()
        print(pcall(guest.expect, guest, "more"))
    "#;
    let ran = lab.script(&script.replace("URI", &format!("\"{}\"", lab.uri))).any_stdout().any_stderr().run();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..2], ["true", "3"], "{}", ran.stdout);
    assert!(ran.stdout.contains("Active console session exists for this domain"), "{}", ran.stdout);
    let closed = format!("\ntrue\nfalse\tscript.lua:14: the console of `{}` has closed", lab.machine);
    assert!(ran.stdout.contains(&closed), "{}", ran.stdout);

    let busy = r#"
        local dom = machine.open(MACHINE)
        dom:start()
        print(pcall(function() return dom:guest():expect "x" end))
    "#;
    lab.virsh(&["start", &lab.machine]);
    let mut held = std::process::Command::new("script")
        .args(["-qc", &format!("virsh -c {} console {}", lab.uri, lab.machine), "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let taken = lab.script(&busy.replace("dom:start()", "")).any_stdout().any_stderr().run();
    held.kill().unwrap();
    held.wait().unwrap();
    let expected = format!(
        "false\tscript.lua:4: cannot open the console of `{}`: Active console session exists for this domain\n\
         hint: it is open in `virsh console` or `snaptree console`; `virsh console NAME --force` takes it over\n",
        lab.machine
    );
    assert_eq!(taken.stdout, expected);
}
