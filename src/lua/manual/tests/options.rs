//! Options: the lists with which the code reads option tables, extracted from its source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::lua::manual::{Kind, Manual};

/// The functions whose options one reader serves.
const SHARED: [(&str, &[&str]); 3] = [
    ("step.rs", &["snapshot:branch", "machine:branch"]),
    ("fork.rs", &["snapshot:fork", "snapshot:forks"]),
    ("domain.rs", &["machine:destroy", "machine:suspend", "machine:resume"]),
];

type Lists = BTreeMap<String, BTreeSet<String>>;

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

/// Finds the list that has this name in a source.
fn list_of(source: &str, name: &str) -> Option<BTreeSet<String>> {
    let name = name.trim_start_matches('&');
    if name.starts_with('[') {
        return Some(quoted(name));
    }
    let declared = source.lines().position(|line| {
        let line = line.trim_start().trim_start_matches("pub ");
        line.starts_with(&format!("const {name}:")) || line.starts_with(&format!("let {name} ="))
    })?;
    let statement: Vec<&str> = source.lines().skip(declared).collect();
    let (_, list) = statement.join("\n").split_once('=').map(|(a, b)| (a.to_string(), b.to_string()))?;
    list.split_once(';').map(|(list, _)| quoted(list))
}

/// Lists the arguments of each call of a function in a source.
fn arguments<'a>(source: &'a str, function: &str) -> Vec<Vec<&'a str>> {
    let calls = source.match_indices(function).map(|(at, _)| &source[at + function.len()..]);
    let calls = calls.map(|rest| {
        let (mut depth, mut end, mut starts) = (1, 0, vec![0]);
        for (at, letter) in rest.char_indices() {
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 1 => starts.push(at + 1),
                _ => {}
            }
            if depth == 0 {
                end = at;
                break;
            }
        }
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([end]);
        starts.iter().zip(ends).map(|(start, end)| rest[*start..end].trim()).collect()
    });
    calls.collect()
}

/// Reads the lists of all `Options::read` in a source.
fn read_rust(file: &str, source: &str, lists: &mut Lists) {
    for call in arguments(source, "Options::read(") {
        let list = list_of(source, call[2]).unwrap_or_else(|| panic!("{file}: what is `{}`?", call[2]));
        let name = call[0].trim_matches('"');
        let functions: Vec<&str> = if call[0].starts_with('"') {
            vec![name]
        } else {
            let shared = SHARED.iter().find(|(shared, _)| *shared == file);
            shared.unwrap_or_else(|| panic!("{file}: whose options are `{}`?", call[2])).1.to_vec()
        };
        for function in functions {
            assert_eq!(lists.entry(function.to_string()).or_insert(list.clone()), &list, "{function}");
        }
    }
}

/// Reads the names of all `check_options` of a module.
fn read_lua(source: &str, lists: &mut Lists) {
    for call in arguments(source, "check_options(") {
        let keys = call[2].trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split_once('='));
        let keys = keys.map(|(key, _)| key.trim().to_string()).collect();
        lists.insert(call[0].trim_matches('"').to_string(), keys);
    }
}

fn files(directory: &Path, extension: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("manual") && !path.ends_with("meta") {
            files.extend(self::files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let source = std::fs::read_to_string(&path).unwrap();
            // Options that only tests read do not count.
            files.push((name, source.split("#[cfg(test)]").next().unwrap().to_string()));
        }
    }
    files
}

#[test]
fn the_options_of_functions_are_those_that_the_code_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lists = Lists::new();
    for (file, source) in files(&root.join("src/lua"), "rs") {
        read_rust(&file, &source, &mut lists);
    }
    let mut of_modules = Lists::new();
    for (_, source) in files(&root.join("stdlib"), "lua") {
        read_lua(&source, &mut of_modules);
    }
    assert!(lists.len() > 25 && of_modules.len() > 4, "the lists are not read as they were");
    lists.extend(of_modules);

    let manual = Manual::embedded();
    for (function, list) in &lists {
        let entry = manual.entry(function);
        assert!(entry.is_some(), "there is no `{function}`");
        let told: BTreeSet<String> = manual.options(function).iter().map(|option| option.name.clone()).collect();
        assert_eq!(&told, list, "the options of {function}");
    }
    for entry in &manual.entries {
        // At the prompt, functions that act on the working fork are the guest's own methods.
        let is_method = entry.is_at_prompt && manual.entry(&format!("guest:{}", entry.name)).is_some();
        let is_module = entry.owner.as_deref().and_then(|owner| manual.entry(owner));
        let calls_module = is_module.is_some_and(|module| module.kind == Kind::Module && module.is_callable());
        if !entry.options.is_empty() && !is_method && !calls_module && !entry.is_at_prompt {
            assert!(lists.contains_key(&entry.name), "nothing reads the options of {}", entry.name);
        }
        let takes_options = entry.parameters.iter().any(|parameter| parameter.name == "options");
        let is_check = entry.owner.as_deref() == Some("snaptree");
        assert_eq!(takes_options && !is_check, !entry.options.is_empty(), "{}", entry.name);
    }
}

#[test]
fn what_is_told_is_told_whole() {
    for entry in &Manual::embedded().entries {
        assert!(entry.doc.ends_with('.'), "{}: {:?}", entry.name, entry.doc);
        if entry.owner.is_some() && entry.is_callable() {
            assert!(entry.example.is_some(), "{} has no example", entry.name);
        }
        for parameter in &entry.parameters {
            let is_recorded = parameter.doc.ends_with('.') || parameter.name == "options" || parameter.doc.is_empty();
            assert!(is_recorded && !parameter.type_.is_empty(), "{}: {}", entry.name, parameter.name);
        }
        for option in &entry.options {
            assert!(option.doc.ends_with('.'), "{}: {}: {:?}", entry.name, option.name, option.doc);
        }
        let lua = mlua::Lua::new();
        if let Some(example) = &entry.example {
            let is_lua = lua.load(example.as_str()).into_function();
            assert!(is_lua.is_ok(), "the example of {}: {}", entry.name, is_lua.unwrap_err());
        }
    }
}
