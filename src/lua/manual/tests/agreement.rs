//! Names: those that types register, globals and modules in a Lua state, and those in the documentation.

use std::collections::BTreeSet;
use std::sync::Arc;

use mlua::{Lua, Table, Value};

use crate::lua::api::connection::Connection;
use crate::lua::handle::fork::Fork;
use crate::lua::handle::guest::Guest;
use crate::lua::handle::image::{AnyImage, Work};
use crate::lua::handle::machine::Machine;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::manual::tests::recorder::Recorder;
use crate::lua::manual::{Entry, Kind, Manual, stubs};
use crate::lua::prompt::words;
use crate::lua::runtime::connections::Connections;
use crate::lua::stdlib::{EMBEDDED, META};
use crate::lua::tests::state;
use crate::lua::value::failure::Failure;

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_string).collect()
}

fn keys(table: &Table) -> BTreeSet<String> {
    table.pairs::<String, Value>().map(|pair| pair.unwrap().0).collect()
}

#[test]
fn every_stub_is_lua() {
    let stubs = stubs();
    assert!(stubs.len() > 10, "the stubs are not where they were");
    for (path, text) in stubs {
        Lua::new().load(text).set_name(path).into_function().unwrap_or_else(|error| panic!("{error}"));
        assert!(text.starts_with("---@meta "), "{path}");
        let is_written = text.lines().nth(1).unwrap().starts_with("-- Written by `snaptree stubs`.");
        assert_eq!(is_written, path != "prompt.lua", "{path}");
    }
}

#[test]
fn the_members_of_types_are_those_that_are_registered() {
    let registered = |recorders: &[Recorder]| {
        let class = recorders[0].class.clone();
        let told = Manual::embedded().members(&class);
        let of = |kind| names(told.iter().filter(|member| member.kind == kind).map(|member| member.member()));
        let all = |names: fn(&Recorder) -> &Vec<String>| recorders.iter().flat_map(names).cloned().collect();
        assert_eq!((of(Kind::Field), of(Kind::Method)), (all(|it| &it.fields), all(|it| &it.methods)), "{class}");
        let entry = Manual::embedded().entries(&class).into_iter().find(|entry| entry.kind == Kind::Class);
        assert!(entry.is_some(), "there is no class `{class}`");
        class
    };
    let classes = [
        registered(&[Recorder::of::<Machine>()]),
        registered(&[Recorder::of::<Snapshot>()]),
        registered(&[Recorder::of::<Guest>()]),
        registered(&[Recorder::of::<Fork>()]),
        registered(&[Recorder::of::<Connection>()]),
        registered(&[Recorder::of::<AnyImage>()]),
        registered(&[Recorder::of::<Work>()]),
        registered(&[Recorder::of::<Failure>()]),
    ];
    let told = Manual::embedded().classes();
    assert_eq!(names(told.iter().map(|class| class.name.as_str())), BTreeSet::from(classes));
}

#[test]
fn the_globals_are_those_of_a_script() {
    let manual = Manual::embedded();
    let (lua, plain) = (state(), Lua::new());
    let globals = lua.globals();
    let ours: BTreeSet<String> = keys(&globals).difference(&keys(&plain.globals())).cloned().collect();
    let told = manual.globals().into_iter().filter(|entry| !entry.is_at_prompt);
    assert_eq!(names(told.map(|entry| entry.name.as_str())), ours);
    for name in ours {
        let Ok(table) = globals.get::<Table>(name.as_str()) else { continue };
        let told = manual.members(&name).into_iter().filter(|member| member.kind == Kind::Function);
        assert_eq!(names(told.map(|member| member.member())), keys(&table), "{name}");
        let is_callable = table.metatable().is_some_and(|meta| meta.contains_key("__call").unwrap());
        assert_eq!(manual.entry(&name).unwrap().is_callable(), is_callable, "{name}");
    }
}

#[test]
fn what_exists_at_the_prompt_only_is_what_it_has() {
    let lua = state();
    let connections = lua.app_data_ref::<Arc<Connections>>().map(|connections| Arc::clone(&connections)).unwrap();
    let desk = words::prompt(&lua, connections, None).unwrap();
    let told = Manual::embedded().globals().into_iter().filter(|entry| entry.is_at_prompt);
    assert_eq!(names(told.map(|entry| entry.name.as_str())), keys(&desk.names));
}

#[test]
fn the_modules_are_those_in_the_binary() {
    let (manual, lua) = (Manual::embedded(), state());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut modules = BTreeSet::from(["snaptree".to_string()]);
    let below = EMBEDDED.dirs().filter(|directory| !directory.path().ends_with(META));
    for directory in below.chain([&EMBEDDED]) {
        for file in directory.files() {
            modules.insert(file.path().with_extension("").to_string_lossy().replace('/', "."));
        }
    }
    assert_eq!(names(manual.modules().into_iter().map(|module| module.name.as_str())), modules);
    for name in modules {
        let module: Table = runtime.block_on(lua.load(format!("return require {name:?}")).eval_async()).unwrap();
        let told = manual.members(&name);
        assert_eq!(names(told.iter().map(|member| member.member())), keys(&module), "{name}");
        for member in told {
            let is_function = module.get::<Value>(member.member()).unwrap().is_function();
            assert_eq!(member.kind == Kind::Function, is_function, "{}", member.name);
        }
        let is_callable = module.metatable().is_some_and(|meta| meta.contains_key("__call").unwrap());
        assert_eq!(manual.entry(&name).unwrap().is_callable(), is_callable, "{name}");
    }
}

#[test]
fn a_stub_is_no_module() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for name in ["meta.apt", "meta.machine", "meta.images.debian", "meta..apt"] {
        let loaded = runtime.block_on(state().load(format!("return require {name:?}")).eval_async::<Value>());
        let said = crate::lua::value::error::from_lua(&loaded.unwrap_err()).message;
        assert_eq!(said, format!("there is no module `{name}`"));
    }
}

/// The names of variables in the examples of docs/lua.md, and their types.
const RECEIVERS: [(&str, &str); 8] = [
    ("vm", "machine"),
    ("dom", "machine"),
    ("snap", "snapshot"),
    ("snapshot", "snapshot"),
    ("fork", "fork"),
    ("guest", "guest"),
    ("connection", "connection"),
    ("work", "work"),
];

/// Lists the calls in the text between backticks.
fn calls(document: &str) -> BTreeSet<String> {
    let quoted = document.split('`').skip(1).step_by(2);
    let called = quoted.filter_map(|code| {
        let end = code.find(|letter: char| !letter.is_alphanumeric() && !"_.:".contains(letter))?;
        (code[end..].starts_with(['(', ' '])).then_some(&code[..end])
    });
    names(called.filter(|name| name.contains([':', '.']) && !name.ends_with(':') && !name.contains("::")))
}

#[test]
fn the_calls_of_the_documentation_are_told_and_those_that_are_told_are_documented() {
    let manual = Manual::embedded();
    let document = include_str!("../../../../docs/lua.md").replace("```", "");
    let mut documented = BTreeSet::new();
    for call in calls(&document) {
        let (receiver, member) = call.split_once([':', '.']).unwrap();
        let class = RECEIVERS.iter().find(|(name, _)| *name == receiver && call.contains(':'));
        let is_table = ["machine", "libvirt", "image", "host"].contains(&receiver) && call.contains('.');
        if let Some((_, class)) = class {
            documented.insert(format!("{class}:{member}"));
        } else if is_table || receiver == "machine" {
            documented.insert(call.clone());
        }
    }
    assert!(documented.len() > 40, "the calls are not written as they were: {documented:?}");
    for call in &documented {
        let found = manual.entry(call).filter(|entry| entry.is_callable());
        assert!(found.is_some(), "docs/lua.md has `{call}`");
    }
    let plain = |entry: &&Entry| {
        let module = entry.owner.as_deref().and_then(|owner| manual.entry(owner));
        entry.owner.is_some() && module.is_none_or(|module| module.kind != Kind::Module)
    };
    let told = manual.entries.iter().filter(|entry| entry.is_callable()).filter(plain);
    for entry in told {
        let is_there = documented.contains(&entry.name) || document.contains(&format!("{}(", entry.name));
        assert!(is_there, "docs/lua.md lacks `{}`", entry.name);
        for option in &entry.options {
            let written = [format!("`{}`", option.name), format!("{} =", option.name)];
            let is_there = written.iter().any(|written| document.contains(written));
            assert!(is_there, "docs/lua.md lacks `{}` of `{}`", option.name, entry.name);
        }
    }
}
