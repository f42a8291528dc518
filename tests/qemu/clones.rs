//! Clones of a running domain that has what only one domain can have.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::foreign::{Foreign, between};
use super::lab::Lab;

/// SeaBIOS starts from flash as well as from ROM, so a guest without UEFI can have a file for variables.
const FIRMWARE: &str = "/usr/share/seabios/bios-256k.bin";

/// Gives the domain ports, a log, files and ids of its own, as people write them by hand.
fn make_exclusive(foreign: &Foreign) {
    let path = |name: &str| foreign.directory.join(name).display().to_string();
    let free = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let [vnc, serial] = free.map(|port| port.local_addr().unwrap().port());
    std::fs::write(path("template.fd"), vec![b't'; 64 << 10]).unwrap();
    std::fs::write(path("theirs.fd"), vec![b'o'; 64 << 10]).unwrap();
    let xml = foreign.lab.virsh(&["dumpxml", &foreign.name]);
    let uuid = between(&xml, "<uuid>", "</uuid>").unwrap();
    let devices = format!(
        "<graphics type='vnc' port='{vnc}' autoport='no'/>
         <serial type='tcp'><source mode='bind' host='127.0.0.1' service='{serial}'/><log file='{}'/>
           <target port='1'/></serial>
         <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='theirs'/></channel>",
        path("serial.log"),
        path("channel.sock"),
    );
    let firmware = format!(
        "<loader readonly='yes' type='pflash'>{FIRMWARE}</loader><nvram template='{}'>{}</nvram><smbios mode='sysinfo'/>",
        path("template.fd"),
        path("theirs.fd"),
    );
    let ids = format!(
        "<sysinfo type='smbios'><system><entry name='serial'>4711</entry><entry name='uuid'>{uuid}</entry></system></sysinfo>"
    );
    let xml =
        xml.replace("</os>", &format!("{firmware}</os>{ids}")).replace("</devices>", &format!("{devices}</devices>"));
    let file = foreign.directory.join("exclusive.xml");
    std::fs::write(&file, xml).unwrap();
    foreign.lab.virsh(&["define", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
}

/// What a clone makes besides its disks: the variables of its firmware, and its log.
fn own_files(lab: &Lab) -> Vec<PathBuf> {
    let variables = lab.files().into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "nvram"));
    let logs = std::fs::read_dir("/var/log/libvirt/qemu").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_clones = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy();
        name.starts_with(&lab.machine) && name.contains("-foreign.")
    };
    let logs = logs.filter(|log| is_clones(log) && *log != original_log(lab));
    variables.chain(logs).collect()
}

fn original_log(lab: &Lab) -> PathBuf {
    Path::new("/var/log/libvirt/qemu").join(format!("{}-foreign.log", lab.machine))
}

#[test]
#[ignore = "needs QEMU"]
fn forks_and_branches_run_beside_an_original_that_holds_ports_and_files() {
    let lab = Lab::new("clones");
    let foreign = Foreign::new(&lab);
    make_exclusive(&foreign);
    lab.virsh(&["start", "--paused", &foreign.name]);
    foreign.snaptree(&["snapshot", &foreign.name, "sn01", "--disk-only", "--atomic"]);
    let before = lab.virsh(&["dumpxml", "--inactive", &foreign.name]);
    let path = foreign.path("sn01");

    // One that stays keeps its variables when others are cleared away.
    foreign.snaptree(&["fork", &path]);
    let is_variables = |file: &PathBuf| file.extension().is_some_and(|it| it == "nvram");
    let variables = own_files(&lab).into_iter().find(is_variables).unwrap();
    assert_eq!(std::fs::read(&variables).unwrap(), vec![b'o'; 64 << 10]);
    let step = "io.write(guest:run('cat /sys/class/dmi/id/product_serial').stdout)";
    let serial = foreign.lua(&format!("dom:find('sn01'):branch('new', function(guest) {step} end)"));
    assert!(!serial.contains("4711") && serial.trim().len() == 36, "{serial}");
    assert_eq!(own_files(&lab).into_iter().filter(is_variables).collect::<Vec<_>>(), [variables]);
    foreign.snaptree(&["stop", &foreign.name]);
    assert_eq!(own_files(&lab), Vec::<PathBuf>::new());

    assert_eq!(
        (foreign.state().as_str(), foreign.snapshots()),
        ("paused", vec!["new".to_string(), "sn01".to_string()])
    );
    assert_eq!(lab.virsh(&["dumpxml", "--inactive", &foreign.name]), before);
    assert_eq!(std::fs::read(foreign.directory.join("theirs.fd")).unwrap(), vec![b'o'; 64 << 10]);

    // A guest built beside it is entered with its own ports and files.
    foreign.snaptree(&["revert", &foreign.path("new"), "--yes"]);
    let xml = lab.virsh(&["dumpxml", "--inactive", &foreign.name]);
    for kept in ["theirs.fd", "serial.log", "channel.sock", "4711", FIRMWARE] {
        assert!(xml.contains(kept), "{kept} is missing: {xml}");
    }
}
