//! Clones beside their originals, which have what only one domain can have.

use std::net::TcpListener;
use std::path::Path;

use super::*;
use crate::hypervisor::{CloneSpec, Clones, Frozen, Images, Ram, Start};
use crate::libvirt::clone::devices::shared_memory_prefix;
use crate::libvirt::domain::domains;
use crate::libvirt::xml::domain_xml;

/// A domain that another tool created, and a clone of it that has not started. What they leave on the host is removed
/// at the end.
struct Pair {
    vm: Vm,
    clone: CloneSpec,
}

impl Pair {
    fn new(edit: impl FnOnce(&Vm, &mut Element)) -> Self {
        let vm = Vm::new();
        let mut domain = domain_xml::parse(&vm.details().document).unwrap();
        // libvirt gave it one that leads nowhere.
        domain.find_mut("devices").unwrap().remove(&["audio"]);
        edit(&vm, &mut domain);
        domains::define(&vm.libvirt.connect(), &vm.name, &domain.to_string()).unwrap();
        // The original writes to its disk.
        qemu_img(&["create", "-q", "-f", "qcow2", vm.text("layer").as_str(), "1M"]);
        vm.libvirt.create_overlay(&vm.file("clone"), &vm.image("layer")).unwrap();
        let clone = CloneSpec {
            name: format!("{}-clone", vm.name),
            uuid: uuid::Uuid::new_v4().to_string(),
            document: vm.details().document,
            disks: [("vda".to_string(), vm.file("clone"))].into(),
            nvram: vm.directory.join("clone.nvram"),
            ram: Ram::Default,
            from: None,
            paused: true,
            metadata: metadata("clone"),
        };
        Self { vm, clone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.vm.directory.join(name)
    }

    /// The description of the clone as it runs.
    fn live(&self) -> Element {
        domain_xml::parse(&self.vm.libvirt.live_document(&self.clone.name).unwrap()).unwrap()
    }

    fn shared_memory(&self) -> usize {
        let entries = fs::read_dir("/dev/shm").unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&shared_memory_prefix(&self.clone.name))).count()
    }

    #[track_caller]
    fn assert_both_are_paused(&self) {
        let state = |name: &str| self.vm.libvirt.domain(name).unwrap().unwrap().domain.state;
        assert_eq!([&self.vm.name, &self.clone.name].map(|name| state(name)), [DomainState::Paused; 2]);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.vm.libvirt.destroy(&self.clone.name);
        let _ = self.vm.libvirt.destroy(&self.vm.name);
        let _ = fs::remove_file(Path::new("/dev/shm").join(&self.vm.name));
    }
}

fn paused() -> Start {
    Start { paused: true, ..Start::default() }
}

fn add(element: &mut Element, fragment: &str) {
    element.children.extend(Element::parse_all(fragment).unwrap());
}

/// Gives a domain ports, sockets, files, memory and ids that two domains cannot have.
fn make_exclusive(vm: &Vm, domain: &mut Element) {
    // QEMU itself makes some of the files.
    fs::set_permissions(&vm.directory, fs::Permissions::from_mode(0o777)).unwrap();
    let path = |name: &str| vm.directory.join(name).display().to_string();
    // Held together, so that they are not the same.
    let free = [(); 6].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let [vnc, websocket, serial, redirection, random, card] = free.map(|port| port.local_addr().unwrap().port());
    let devices = format!(
        "<graphics type='vnc' port='{vnc}' autoport='no' websocket='{websocket}'>
           <listen type='address' address='127.0.0.1'/></graphics>
         <serial type='tcp'><source mode='bind' host='127.0.0.1' service='{serial}'/><target port='1'/></serial>
         <serial type='unix'><source mode='bind' path='{}'/><target port='2'/></serial>
         <serial type='file'><source path='{}'/><log file='{}'/><target port='3'/></serial>
         <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='theirs'/></channel>
         <redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1' service='{redirection}'/>
           <protocol type='raw'/></redirdev>
         <rng model='virtio'><backend model='egd' type='tcp'>
           <source mode='bind' host='127.0.0.1' service='{random}'/></backend></rng>
         <shmem name='{}'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>
         <interface type='ethernet'><mac address='52:54:00:11:22:33'/><target dev='st{}'/></interface>
         <parallel type='file'><source path='{}'/></parallel>
         <smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='{card}'/>
           <protocol type='raw'/></smartcard>
         <disk type='file' device='floppy'><driver name='qemu' type='raw'/><source file='{}'/><target dev='fda'/></disk>
         <lease><lockspace>space</lockspace><key>{}</key><target path='{}'/></lease>
         <audio id='1' type='file' path='{}'/>
         <pstore backend='acpi-erst'><path>{}</path><size unit='KiB'>64</size></pstore>",
        path("serial.sock"),
        path("serial.out"),
        path("serial.log"),
        path("channel.sock"),
        vm.name,
        &vm.name[5..],
        path("parallel.out"),
        path("floppy.raw"),
        vm.name,
        path("lease"),
        path("sound.wav"),
        path("theirs.pstore"),
    );
    add(domain.find_mut("devices").unwrap(), &devices);
    let uuid = domain.text_of("uuid").unwrap();
    let ids = format!(
        "<sysinfo type='smbios'><system><entry name='uuid'>{uuid}</entry><entry name='serial'>4711</entry></system></sysinfo>"
    );
    add(domain, &ids);
    let arguments = ["-qmp", &format!("unix:{},server=on,wait=off", path("qmp.sock")), "-pidfile", &path("pid")]
        .map(|value| Element::new("qemu:arg").with("value", value));
    domain.set("xmlns:qemu", "http://libvirt.org/schemas/domain/qemu/1.0");
    domain.children.push(Element::new("qemu:commandline").children(arguments));
    fs::write(path("floppy.raw"), vec![0; 1_474_560]).unwrap();
    let [code, template, variables] = ["code.fd", "template.fd", "theirs.fd"].map(path);
    for (file, byte) in [(&code, 0), (&template, b't'), (&variables, b'o')] {
        fs::write(file, vec![byte; 64 << 10]).unwrap();
    }
    let os = format!(
        "<loader type='pflash' readonly='yes'>{code}</loader><nvram template='{template}'>{variables}</nvram>
         <smbios mode='sysinfo'/>"
    );
    add(domain.find_mut("os").unwrap(), &os);
}

#[test]
#[ignore = "needs QEMU"]
fn a_clone_runs_beside_an_original_with_everything_that_only_one_can_have() {
    let mut pair = Pair::new(make_exclusive);
    let libvirt = &pair.vm.libvirt;
    libvirt.start(&pair.vm.name, paused()).unwrap();
    // What a snapshot of a running domain holds has also what belongs to this run.
    pair.clone.document = libvirt.live_document(&pair.vm.name).unwrap();
    let before = libvirt.live_document(&pair.vm.name).unwrap();
    libvirt.start_clone(&pair.clone).unwrap();
    pair.assert_both_are_paused();

    let live = pair.live();
    let devices = live.find("devices").unwrap();
    let theirs = domain_xml::parse(&before).unwrap();
    let of_theirs = |name: &str| theirs.find("devices").unwrap().find(name).unwrap();
    for key in ["port", "websocket"] {
        let ports = [devices, theirs.find("devices").unwrap()].map(|it| it.find("graphics").unwrap().get(key));
        assert!(ports[0] != ports[1] && ports[0].is_some_and(|port| port != "-1"), "{key}: {ports:?}");
    }
    assert!(devices.all("serial").all(|serial| serial.get("type") == Some("pty") && serial.find("log").is_none()));
    assert_eq!(devices.all("serial").count(), theirs.find("devices").unwrap().all("serial").count());
    assert_eq!(devices.find("redirdev").unwrap().get("type"), Some("null"));
    assert_eq!(devices.find("rng").unwrap().find("backend").unwrap().get("model"), Some("random"));
    assert_eq!(devices.find("audio").unwrap().get("type"), Some("none"));
    let card = devices.find("interface").unwrap();
    for (child, key) in [("mac", "address"), ("target", "dev")] {
        let value = |card: &Element| card.find(child).unwrap().get(key).map(str::to_string);
        assert_ne!(value(card), value(of_theirs("interface")));
    }
    let system = live.find("sysinfo").unwrap().find("system").unwrap();
    assert!(system.children.iter().all(|entry| entry.text == pair.clone.uuid), "{system}");
    assert!(live.find("qemu:commandline").is_none_or(|line| line.children.is_empty()));
    let text = live.to_string();
    let theirs = [
        "serial.sock",
        "serial.out",
        "serial.log",
        "channel.sock",
        "sound.wav",
        "theirs.pstore",
        "qmp.sock",
        "floppy.raw",
    ];
    for name in theirs.into_iter().chain(["parallel.out", "<lease>"]) {
        assert!(!text.contains(name), "{name} is in {text}");
    }

    // Its variables are a copy of the original's, in a file of its own.
    let files = CloneSpec::own_files(&pair.clone.nvram);
    assert_eq!(fs::read(&files[0]).unwrap(), vec![b'o'; 64 << 10]);
    assert!(files[1].exists());
    assert_eq!(pair.shared_memory(), 1);
    let log = PathBuf::from(format!("/var/log/libvirt/qemu/{}.log", pair.clone.name));
    assert!(log.exists());
    libvirt.destroy(&pair.clone.name).unwrap();
    assert_eq!((pair.shared_memory(), log.exists()), (0, false));
    assert_eq!(libvirt.live_document(&pair.vm.name).unwrap(), before);
    assert_eq!(fs::read(pair.path("theirs.fd")).unwrap(), vec![b'o'; 64 << 10]);
    assert!(Path::new("/dev/shm").join(&pair.vm.name).exists());
}

#[test]
#[ignore = "needs QEMU"]
fn a_clone_resumes_from_ram_that_its_original_was_saved_with() {
    let mut pair = Pair::new(|vm, domain| {
        make_exclusive(vm, domain);
        // QEMU saves no guest that shares memory.
        domain.find_mut("devices").unwrap().remove(&["shmem"]);
    });
    let libvirt = &pair.vm.libvirt;
    libvirt.start(&pair.vm.name, paused()).unwrap();
    let image = pair.path("saved.ram");
    libvirt.save(&pair.vm.name, &image).unwrap();
    libvirt.start(&pair.vm.name, paused()).unwrap();
    pair.clone.from = Some(Frozen::Saved(image));
    libvirt.start_clone(&pair.clone).unwrap();
    pair.assert_both_are_paused();
    let text = pair.live().to_string();
    assert!(!text.contains("serial.sock") && !text.contains("4711") && text.contains("clone.nvram"), "{text}");
}

#[test]
#[ignore = "needs QEMU"]
fn a_clone_that_boots_first_gets_its_variables_from_the_template() {
    let mut pair = Pair::new(make_exclusive);
    fs::remove_file(pair.path("theirs.fd")).unwrap();
    // It keeps its RAM as a builder does.
    pair.clone.ram = Ram::Shared(pair.path("clone.ram"));
    pair.vm.libvirt.start_clone(&pair.clone).unwrap();
    assert_eq!(fs::read(&pair.clone.nvram).unwrap(), vec![b't'; 64 << 10]);
    assert!(!pair.path("theirs.fd").exists());
}

#[test]
#[ignore = "needs QEMU"]
fn two_live_forks_have_the_hardware_that_the_frozen_guest_had() {
    let pair = Pair::new(|vm, domain| {
        let path = |name: &str| vm.directory.join(name).display().to_string();
        let devices = format!(
            "<serial type='file'><source path='{}'/><target port='1'/></serial>
             <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='theirs'/></channel>
             <redirdev bus='usb' type='unix'><source mode='bind' path='{}'/></redirdev>
             <sound model='ich9'><audio id='1'/></sound><audio id='1' type='file' path='{}'/>",
            path("serial.out"),
            path("channel.sock"),
            path("usb.sock"),
            path("sound.wav"),
        );
        add(domain.find_mut("devices").unwrap(), &devices);
    });
    let libvirt = &pair.vm.libvirt;
    let (ram, state) = (pair.path("frozen.ram"), Frozen::Devices(pair.path("frozen.devices")));
    libvirt.start_clone(&CloneSpec { ram: Ram::Shared(ram.clone()), ..pair.clone.clone() }).unwrap();
    libvirt.freeze(&pair.clone.name, &state).unwrap();
    libvirt.destroy(&pair.clone.name).unwrap();
    libvirt.start(&pair.vm.name, paused()).unwrap();
    let fork = CloneSpec { ram: Ram::Private(ram), from: Some(state), ..pair.clone.clone() };
    libvirt.start_clone(&fork).unwrap();
    pair.assert_both_are_paused();
    let second = format!("{}-2", fork.name);
    libvirt.create_overlay(&pair.vm.file("second"), &pair.vm.image("layer")).unwrap();
    let started = libvirt.start_clone(&CloneSpec {
        name: second.clone(),
        uuid: uuid::Uuid::new_v4().to_string(),
        disks: [("vda".to_string(), pair.vm.file("second"))].into(),
        ..fork
    });
    libvirt.destroy(&second).unwrap();
    started.unwrap();
}

#[test]
#[ignore = "needs QEMU"]
fn a_domain_with_a_device_of_the_host_has_no_clone() {
    let pair = Pair::new(|_, domain| {
        let device = "<hostdev mode='subsystem' type='pci' managed='yes'><source>
            <address domain='0x0000' bus='0xfe' slot='0x1f' function='0x7'/></source></hostdev>";
        add(domain.find_mut("devices").unwrap(), device);
    });
    let libvirt = &pair.vm.libvirt;
    let cause = "it has the host's PCI device `0000:fe:1f.7`";
    assert_eq!(libvirt.obstacle_to_clone(&pair.clone.document).unwrap().as_deref(), Some(cause));
    let error = libvirt.start_clone(&pair.clone).unwrap_err();
    assert_eq!(error.to_string(), format!("the clone `{}` cannot be made: {cause}", pair.clone.name));
    assert!(libvirt.domain(&pair.clone.name).unwrap().is_none());
}
