//! A domain that snaptree did not create, made with virsh and qemu-img alone.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::Lab;

/// A domain with the tiny guest on a disk of its own, in a directory of its own, with nothing of snaptree in it.
pub struct Foreign<'a> {
    pub lab: &'a Lab,
    pub name: String,
    pub directory: PathBuf,
}

impl<'a> Foreign<'a> {
    pub fn new(lab: &'a Lab) -> Self {
        lab.script("machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root 'base'").any_stderr().run();
        let directory = lab.store.join("foreign");
        std::fs::create_dir_all(&directory).unwrap();
        let foreign = Self { lab, name: format!("{}-foreign", lab.machine), directory };
        let xml = lab.virsh(&["dumpxml", &lab.machine]);
        let disk = foreign.disk();
        let theirs = between(&xml, "<source file='", "'").unwrap().to_string();
        qemu_img(&["convert", "-U", "-O", "qcow2", &theirs, disk.to_str().unwrap()]);
        let xml = without(&without(&without(&xml, "<metadata>", "</metadata>"), "<uuid>", "</uuid>"), "<mac ", "/>")
            .replace(&theirs, disk.to_str().unwrap())
            .replace(&format!("<name>{}</name>", lab.machine), &format!("<name>{}</name>", foreign.name));
        let file = foreign.directory.join("foreign.xml");
        std::fs::write(&file, xml).unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
        std::fs::remove_file(file).unwrap();
        foreign
    }

    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// `FOREIGN/SNAPSHOT`.
    pub fn path(&self, snapshot: &str) -> String {
        format!("{}/{snapshot}", self.name)
    }

    pub fn start(&self) {
        self.lab.virsh(&["start", &self.name]);
    }

    /// Runs lines of Lua with `dom` as the opened machine; returns what they print.
    pub fn lua(&self, lines: &str) -> String {
        let script = format!("local dom = machine.open '{}'\n{lines}", self.name);
        self.lab.script(&script).any_stdout().any_stderr().run().stdout
    }

    /// Runs a line in the running guest; returns what it prints.
    pub fn sh(&self, line: &str) -> String {
        self.lua(&format!("io.write(dom:guest():run([==[{line}]==]).stdout)"))
    }

    pub fn snaptree(&self, args: &[&str]) -> String {
        self.lab.snaptree(args).any_stdout().any_stderr().run().stdout
    }

    pub fn state(&self) -> String {
        self.lab.virsh(&["domstate", &self.name]).trim().to_string()
    }

    /// The description and the snapshots, as virsh tells them: what a refusal must not change.
    pub fn everything(&self) -> String {
        let mut all = self.lab.virsh(&["dumpxml", "--inactive", &self.name]);
        for name in self.snapshots() {
            all += &self.lab.virsh(&["snapshot-dumpxml", &self.name, &name]);
        }
        all + &self.current().unwrap_or_default()
    }

    pub fn snapshots(&self) -> Vec<String> {
        self.lab
            .virsh(&["snapshot-list", &self.name, "--name"])
            .lines()
            .filter(|it| !it.is_empty())
            .map(String::from)
            .collect()
    }

    pub fn current(&self) -> Option<String> {
        let output = self.lab.try_virsh(&["snapshot-current", &self.name, "--name"]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Fails unless virsh, the command line and Lua show this tree and this current snapshot.
    #[track_caller]
    pub fn assert_tree(&self, tree: &str, current: Option<&str>) {
        let shape = |drawn: &str| super::lab::shape(drawn).replace("no snapshots\n", "");
        assert_eq!(shape(&self.lab.virsh(&["snapshot-list", &self.name, "--tree"])), tree, "virsh's tree");
        assert_eq!(shape(&self.snaptree(&["tree", &self.name])), tree, "the command line's tree");
        assert_eq!(shape(&self.lua("print(dom:tree())")), tree, "Lua's tree");
        assert_eq!(self.current().as_deref(), current, "virsh's current snapshot");
        match current {
            Some(current) => {
                assert_eq!(self.snaptree(&["current", &self.name]).trim(), current, "the command line's current one");
            }
            None => drop(self.lab.snaptree(&["current", &self.name]).status(1).any_stderr().run()),
        }
        let of_lua = self.lua("local c = dom:current() print(c and c.name)");
        assert_eq!(of_lua.trim(), current.unwrap_or("nil"), "Lua's current snapshot");
    }
}

/// Runs qemu-img and returns what it prints.
pub fn qemu_img(args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).output().unwrap();
    assert!(output.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lists an image and its backing files.
pub fn chain(image: &Path) -> Vec<PathBuf> {
    let json = qemu_img(&["info", "-U", "--backing-chain", "--output=json", image.to_str().unwrap()]);
    let images: serde_json::Value = serde_json::from_str(&json).unwrap();
    images.as_array().unwrap().iter().map(|image| image["filename"].as_str().unwrap().into()).collect()
}

pub fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    rest.get(..rest.find(end)?)
}

fn without(text: &str, start: &str, end: &str) -> String {
    let Some(from) = text.find(start) else { return text.to_string() };
    let Some(length) = text[from..].find(end) else { return text.to_string() };
    format!("{}{}", &text[..from], &text[from + length + end.len()..])
}
