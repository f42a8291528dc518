#![allow(clippy::unwrap_used)]

use super::*;
use crate::libvirt::clone::clone_xml;
use crate::libvirt::clone::rule::Identity;
use std::path::Path;

/// Returns the arguments that a clone gets, or why there is none.
fn cloned(arguments: &str) -> Result<String, String> {
    let arguments = arguments.split(' ').map(|value| Element::new("qemu:arg").with("value", value));
    let line = Element::new("qemu:commandline").child(Element::new("qemu:env").with("name", "-s")).children(arguments);
    let mut domain = Element::new("domain").child(line);
    let identity = Identity { name: "clone", uuid: "UUID", nvram: Path::new(""), exists: |_| false };
    clone_xml::apply(&mut domain, &identity)?;
    let line = domain.find("qemu:commandline").unwrap();
    assert_eq!(line.children[0].name, "qemu:env");
    Ok(line.all("qemu:arg").filter_map(|it| it.get("value")).collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn becomes(before: &str, after: &str) {
    // What comes before and after an argument stays.
    let around = |arguments: &str| format!("-cpu max {arguments} -no-hpet").replace("  ", " ");
    assert_eq!(cloned(&around(before)), Ok(around(after)));
}

#[track_caller]
fn is_refused(arguments: &str) {
    assert_eq!(cloned(&format!("-no-hpet {arguments}")), Err(format!("it passes to QEMU `{arguments}`")));
}

#[test]
fn what_only_the_host_sees_is_left_out() {
    for option in ["-monitor stdio", "--qmp unix:/q,server", "-qmp-pretty tcp::1", "-mon chardev=m", "-pidfile /p"] {
        becomes(option, "");
    }
    for option in ["-D /log", "-trace file=/t", "-gdb tcp::1234", "-vnc :1", "-spice port=1", "-incoming defer"] {
        becomes(option, "");
    }
    for option in ["-uuid u", "-s", "-daemonize", "-object input-linux,id=i,evdev=/e", "-object filter-dump,file=/f"] {
        becomes(option, "");
    }
    becomes(r#"-object {"qom-type":"input-linux","id":"i"}"#, "");
    for option in ["-qtest unix:/q,server=on", "-qtest-log /l", "-display vnc=:77", "-display gtk", "-display dbus"] {
        becomes(option, "");
    }
    becomes("-icount shift=auto,rr=record,rrfile=/r,rrsnapshot=s", "-icount shift=auto");
}

#[test]
fn ports_of_the_host_lead_nowhere() {
    becomes("-netdev user,id=n,hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80", "-netdev user,id=n");
    becomes("-nic user,guestfwd=tcp:10.0.2.1:1-cmd:x", "-nic user");
    becomes(r#"-netdev {"type":"user","id":"n","hostfwd":[{"str":"a"}]}"#, r#"-netdev {"id":"n","type":"user"}"#);
    becomes("-netdev user,id=n,tftp=/a,,b", "-netdev user,id=n,tftp=/a,,b");
}

#[test]
fn character_devices_and_sound_have_no_other_end() {
    for end in ["tcp::4555,server", "unix:/s", "file:/f", "pipe:/p", "udp::1", "telnet::1", "/dev/ttyS0"] {
        becomes(&format!("-serial {end}"), "-serial null");
    }
    for end in ["none", "null", "vc:80Cx24C", "pty", "stdio", "mon:stdio", "chardev:c"] {
        becomes(&format!("-serial {end}"), &format!("-serial {end}"));
    }
    becomes("-debugcon file:/f", "-debugcon null");
    becomes("-parallel /dev/parport0", "-parallel null");
    becomes("-chardev socket,path=/s,server=on,id=c", "-chardev null,id=c");
    becomes("-chardev pty,id=c,logfile=/l", "-chardev pty,id=c");
    becomes("-audiodev wav,id=a,path=/w", "-audiodev none,id=a");
    becomes("-audiodev spice,id=a", "-audiodev spice,id=a");
    becomes("-audio wav,path=/w,model=hda", "-audio none,model=hda");
    becomes("-audio driver=alsa,id=a", "-audio driver=none,id=a");
}

#[test]
fn the_ids_of_smbios_are_the_clones_own() {
    becomes("-smbios type=1,uuid=u,serial=7,product=a,,b", "-smbios type=1,uuid=UUID,serial=UUID,product=a,,b");
    becomes("-smbios type=1,serial=ds=nocloud;s=http://h/", "-smbios type=1,serial=ds=nocloud;s=http://h/");
}

#[test]
fn what_one_domain_can_have_is_refused() {
    for network in ["tap,id=n,ifname=tap0", "socket,id=n,listen=:1", "vhost-user,id=n", "bridge,id=n,br=br0"] {
        is_refused(&format!("-netdev {network}"));
    }
    is_refused("-nic tap");
    for drive in ["file=/d,if=virtio", "file=/d,readonly=off", "driver=qcow2,file.filename=/d", "driver=nbd,host=h"] {
        is_refused(&format!("-drive {drive}"));
    }
    is_refused(r#"-blockdev {"driver":"qcow2","file":{"driver":"file","filename":"/d"}}"#);
    is_refused("-blockdev driver=file,filename=/d,node-name=f");
    for device in ["vfio-pci,host=06:12.5", "usb-host,vendorid=1", "vhost-vsock-pci,guest-cid=3", "vhost-user-fs-pci"] {
        is_refused(&format!("-device {device}"));
    }
    is_refused(r#"-device {"driver":"vfio-pci","host":"06:12.5"}"#);
    is_refused("-object memory-backend-file,id=m,mem-path=/m,share=on");
    is_refused("-virtfs proxy,socket=/s");
    for option in [
        "-set drive.d.file=/d",
        "-set device.d.host=1",
        "-hda /d",
        "-fda /d",
        "-pflash /d",
        "-tpmdev passthrough,id=t",
        "-readconfig /r",
    ] {
        is_refused(option);
    }
}

#[test]
fn everything_else_is_kept() {
    for arguments in [
        "-fw_cfg name=opt/com.coreos/config,file=/i.ign",
        "-drive file=/d,readonly=on",
        "-drive file=/d,media=cdrom",
        "-drive file=/d,snapshot=on",
        "-drive if=none,id=d",
        "-display none",
        "-display egl-headless,rendernode=/dev/dri/renderD128",
        "-set device.d.bootindex=1",
        "-icount shift=auto",
        "-blockdev driver=qcow2,file=f,node-name=d",
        "-blockdev driver=file,filename=/d,read-only=on",
        "-device edu -device virtio-net-pci,netdev=n",
        "-object memory-backend-file,id=m,mem-path=/m,share=on,readonly=on",
        "-object rng-random,id=r",
        "-virtfs local,path=/d,mount_tag=t",
        "-cdrom /c",
        "-S",
        "ARGUMENT",
    ] {
        becomes(arguments, arguments);
    }
}
