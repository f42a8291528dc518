//! The map in DESIGN.md, compared with the source: which room may use which, and that no two files need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::repository;
use crate::support::source::{code_of, paths_used};

const MOST_FILES: usize = 15;

/// The source without its tests: each file with the files that it uses.
struct House {
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl House {
    fn look(root: &Path) -> Self {
        let mut texts = BTreeMap::new();
        read(root, "", &mut texts);
        let uses = |path: &String, text: &String| {
            let code = code_of(text);
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            let used = paths_used(code, &module(path)).into_iter().filter_map(|used| file_of(&texts, &used));
            used.filter(|used| used != path).collect()
        };
        let of_product = texts.iter().filter(|(path, _)| !is_test(path));
        Self { uses: of_product.map(|(path, text)| (path.clone(), uses(path, text))).collect() }
    }

    /// Finds files that need each other, as the way from one back to itself.
    fn circle(&self) -> Option<Vec<String>> {
        let (mut done, mut way) = (BTreeSet::new(), Vec::new());
        self.uses.keys().find_map(|file| self.circle_from(file, &mut done, &mut way))
    }

    fn circle_from(&self, file: &str, done: &mut BTreeSet<String>, way: &mut Vec<String>) -> Option<Vec<String>> {
        if let Some(begin) = way.iter().position(|it| it == file) {
            return Some(way[begin..].to_vec());
        }
        if done.contains(file) {
            return None;
        }
        way.push(file.to_string());
        let found = self.uses.get(file)?.iter().find_map(|used| self.circle_from(used, done, way));
        way.pop();
        done.insert(file.to_string());
        found
    }
}

fn read(directory: &Path, below: &str, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("cannot list a directory") {
        let entry = entry.expect("cannot list a directory").path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.is_dir() {
            read(&entry, &path, texts);
        } else if path.ends_with(".rs") {
            texts.insert(path, fs::read_to_string(&entry).expect("cannot read a source file"));
        }
    }
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part.contains("tests") || part == "example.rs")
}

/// Names the module that a file is.
fn module(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_string).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// Finds the file of the deepest module that a path names.
fn file_of(texts: &BTreeMap<String, String>, path: &[String]) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| {
        let stem = path[..length].join("/");
        [format!("{stem}.rs"), format!("{stem}/mod.rs")].into_iter().find(|file| texts.contains_key(file))
    })
}

/// A room of the map.
struct Room {
    name: String,
    /// The rooms that it may use, besides the ground.
    may_use: BTreeSet<String>,
    /// Whether any room may use it.
    is_ground: bool,
}

/// The rooms of the map, in its order.
fn rows() -> Vec<Room> {
    let design = fs::read_to_string(repository().join("DESIGN.md")).expect("DESIGN.md");
    let (_, map) = design.split_once("\n## The map\n").expect("a map");
    let map = map.split("\n## ").next().unwrap_or_default();
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let rooms = rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [room, _, used] = cells[..] else { panic!("`{row}` has not three cells") };
        let is_ground = used == "ground";
        let used = used.split(", ").filter(|used| !["-", "ground"].contains(used));
        let may_use = used.map(|used| used.trim_matches('`').to_string()).collect();
        Room { name: room.trim_end_matches('`').to_string(), may_use, is_ground }
    });
    rooms.collect()
}

/// Returns the room that a file is in: the one with the longest name that fits.
fn room_of<'a>(rooms: &'a [Room], file: &str) -> Option<&'a Room> {
    let is_in = |room: &&Room| file == format!("{}.rs", room.name) || file.starts_with(&format!("{}/", room.name));
    rooms.iter().filter(is_in).max_by_key(|room| room.name.len())
}

#[test]
fn every_room_uses_what_the_map_says_and_nothing_else() {
    let (house, rooms) = (House::look(&repository().join("src")), rows());
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut broken = Vec::new();
    for (file, uses) in house.uses.iter().filter(|(file, _)| !matches!(file.as_str(), "lib.rs" | "main.rs")) {
        let Some(room) = room_of(&rooms, file) else {
            broken.push(format!("src/{file} is in no room of the map"));
            continue;
        };
        for other in uses {
            let Some(other_room) = room_of(&rooms, other).filter(|other| other.name != room.name) else { continue };
            used.insert((&room.name, &other_room.name));
            if !other_room.is_ground && !room.may_use.contains(&other_room.name) {
                let (room, other_room) = (&room.name, &other_room.name);
                broken.push(format!("src/{file} uses src/{other}, and `{room}` may not use `{other_room}`"));
            }
        }
    }
    for room in &rooms {
        let idle = room.may_use.iter().filter(|it| !used.contains(&(&room.name, it)));
        broken.extend(idle.map(|other| format!("the map lets `{}` use `{other}`, and it does not", room.name)));
        if room.is_ground && !used.iter().any(|(_, other)| *other == room.name) {
            broken.push(format!("`{}` is ground, and no room uses it", room.name));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn a_room_uses_only_rooms_above_it_in_the_map() {
    let (house, rooms) = (House::look(&repository().join("src")), rows());
    let place = |name: &str| rooms.iter().position(|room| room.name == name);
    for (at, room) in rooms.iter().enumerate() {
        assert_eq!(place(&room.name), Some(at), "`{}` is there twice", room.name);
        let later: Vec<&String> = room.may_use.iter().filter(|used| place(used).is_none_or(|it| it >= at)).collect();
        assert!(later.is_empty(), "`{}` comes before {later:?}", room.name);
    }
    for (file, uses) in &house.uses {
        let Some(room) = room_of(&rooms, file).filter(|room| room.is_ground) else { continue };
        let used = uses.iter().filter_map(|used| room_of(&rooms, used));
        let above: Vec<&String> =
            used.filter(|used| place(&used.name) > place(&room.name)).map(|it| &it.name).collect();
        assert!(above.is_empty(), "`{}`, which is ground, uses {above:?}", room.name);
    }
}

#[test]
fn no_two_files_need_each_other() {
    let house = House::look(&repository().join("src"));
    assert!(house.uses.len() > 10, "the source is not where it was");
    assert_eq!(house.circle(), None);
}

#[test]
fn no_folder_has_too_many_files() {
    let house = House::look(&repository().join("src"));
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in house.uses.keys() {
        *folders.entry(file.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default() += 1;
    }
    folders.retain(|_, files| *files > MOST_FILES);
    assert_eq!(folders, BTreeMap::new());
}

#[test]
fn a_circle_is_found_and_what_uses_one_is_none() {
    let house = |uses: &[(&str, &[&str])]| House {
        uses: uses
            .iter()
            .map(|(file, uses)| (file.to_string(), uses.iter().map(|it| it.to_string()).collect()))
            .collect(),
    };
    assert_eq!(house(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]).circle(), None);
    assert_eq!(house(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]).circle(), Some(vec!["b".into(), "c".into()]));
}

#[test]
fn paths_are_found_in_groups_and_from_above() {
    let used = |code: &str| {
        let paths = paths_used(code, &["tree".to_string(), "step".to_string()]).into_iter();
        paths.map(|path| path.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(used("use crate::a::{b::C, d::{E as F, self}};"), ["a::b::C", "a::d::E", "a::d::self"]);
    assert_eq!(used("use super::x::Y; use self::z::w;"), ["tree::step::z::w", "tree::x::Y"]);
    assert_eq!(used("fn f() { crate::g::h(); super::super::i() }"), ["g::h", "i"]);
    assert_eq!(used("pub(in crate::tree) fn f() {} struct Crate; std::mem::swap()"), Vec::<String>::new());
}
