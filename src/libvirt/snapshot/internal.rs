//! Internal snapshots whose names QEMU would take for the id of another one.
//!
//! QEMU first looks for a name among the ids of an image, which are numbers, and offers no other way to revert to a
//! snapshot with RAM. So the other snapshot gets another id, one that is not a name: QEMU's lists show it, and nothing
//! uses it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::libvirt::image::qcow2::{MAGIC, u32_at, u64_at};
use crate::libvirt::image::qemu_img;

/// Where the header has the number of snapshots, and where their list begins.
const COUNT: usize = 60;
const LIST: usize = 64;
const HEADER: usize = 72;
/// The part that every entry has; it holds the lengths of what follows.
const ENTRY: usize = 40;

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    id: Vec<u8>,
    name: Vec<u8>,
    /// Where in the file the id is.
    id_at: u64,
}

/// Says whether QEMU would revert to another snapshot of the image than the one of this name.
pub fn is_misread(image: &Path, name: &str) -> Result<bool> {
    match File::open(image).and_then(|file| entries(&file)) {
        Ok(entries) => Ok(entries.iter().any(|entry| is_in_the_way(entry, name))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::failed(cannot(image)).cause(error)),
    }
}

/// Counts the snapshots of this name in an image.
pub fn count(image: &Path, name: &str) -> Result<usize> {
    match File::open(image).and_then(|file| entries(&file)) {
        Ok(entries) => Ok(entries.iter().filter(|entry| entry.name == name.as_bytes()).count()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::failed(format!("cannot list the snapshots in `{}`", image.display())).cause(error)),
    }
}

/// Gives the snapshot whose id is this name another id. The image must not be in use.
pub fn give_way(image: &Path, name: &str) -> Result<()> {
    qemu_img::unused(image)?;
    let cannot = || cannot(image);
    let file = File::options().read(true).write(true).open(image).because(cannot)?;
    let entries = entries(&file).because(cannot)?;
    for entry in entries.iter().filter(|entry| is_in_the_way(entry, name)) {
        let id = free_id(&entries, &entry.id)
            .ok_or_else(|| Error::failed(cannot()).cause(format!("there are too many snapshots like `{name}`")))?;
        file.write_all_at(&id, entry.id_at).and_then(|()| file.sync_data()).because(cannot)?;
    }
    Ok(())
}

fn cannot(image: &Path) -> String {
    format!("cannot tell the snapshots in `{}` apart", image.display())
}

fn is_in_the_way(entry: &Entry, name: &str) -> bool {
    entry.id == name.as_bytes() && entry.name != name.as_bytes()
}

/// Returns an id of the same length that no snapshot has as an id or a name.
fn free_id(entries: &[Entry], id: &[u8]) -> Option<Vec<u8>> {
    let candidates = (b'a'..=b'z').chain(b'A'..=b'Z').map(|letter| [&[letter], &id[1..]].concat());
    candidates.into_iter().find(|new| entries.iter().all(|entry| entry.id != *new && entry.name != *new))
}

/// Lists the snapshots in an image; none when it is not qcow2.
fn entries(file: &File) -> io::Result<Vec<Entry>> {
    let damaged = || io::Error::new(ErrorKind::InvalidData, "its list of snapshots is damaged");
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        read => read?,
    }
    if !header.starts_with(MAGIC) {
        return Ok(Vec::new());
    }
    let count = u32_at(&header, COUNT).unwrap_or_default();
    let mut at = u64_at(&header, LIST).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..count {
        let mut entry = [0; ENTRY];
        file.read_exact_at(&mut entry, at)?;
        let length = |at: usize| usize::from(u16::from_be_bytes([entry[at], entry[at + 1]]));
        let (mut id, mut name) = (vec![0; length(12)], vec![0; length(14)]);
        let id_at = at.checked_add(ENTRY as u64 + u64::from(u32_at(&entry, 36).unwrap_or_default()));
        let id_at = id_at.filter(|_| !id.is_empty()).ok_or_else(damaged)?;
        file.read_exact_at(&mut id, id_at)?;
        let name_at = id_at.checked_add(id.len() as u64).ok_or_else(damaged)?;
        file.read_exact_at(&mut name, name_at)?;
        at = name_at
            .checked_add(name.len() as u64)
            .and_then(|end| end.checked_next_multiple_of(8))
            .ok_or_else(damaged)?;
        found.push(Entry { id, name, id_at });
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    /// Writes an image that has nothing but snapshots, of these ids and names.
    fn image(snapshots: &[(&str, &str)]) -> Vec<u8> {
        let mut image = vec![0; 512];
        image[..4].copy_from_slice(MAGIC);
        image[COUNT..COUNT + 4].copy_from_slice(&u32::try_from(snapshots.len()).unwrap().to_be_bytes());
        image[LIST..LIST + 8].copy_from_slice(&512u64.to_be_bytes());
        for (id, name) in snapshots {
            let mut entry = vec![0; ENTRY + 16];
            entry[13] = id.len() as u8;
            entry[15] = name.len() as u8;
            entry[39] = 16;
            entry.extend([id.as_bytes(), name.as_bytes()].concat());
            entry.resize(entry.len().next_multiple_of(8), 0);
            image.extend(entry);
        }
        image
    }

    fn told(file: &Path) -> Vec<String> {
        let entries = entries(&File::open(file).unwrap()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        entries.iter().map(|entry| format!("{} {}", text(&entry.id), text(&entry.name))).collect()
    }

    #[test]
    fn only_a_name_that_is_another_ones_id_is_misread() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), image(&[("1", "2"), ("2", "1"), ("3", "3"), ("12", "日本")])).unwrap();
        let misread = |name: &str| is_misread(file.path(), name).unwrap();
        assert_eq!(["1", "2", "3", "4", "12", "日本"].map(misread), [true, true, false, false, true, false]);
        assert!(!is_misread(Path::new("/nosuch"), "1").unwrap());
        fs::write(file.path(), "raw").unwrap();
        assert!(!misread("1"));
    }

    #[test]
    fn another_id_is_none_that_is_there_and_changes_nothing_else() {
        let entries = |names: &[&str]| -> Vec<Entry> {
            names.iter().map(|name| Entry { id: b"1".into(), name: (*name).into(), id_at: 0 }).collect()
        };
        assert_eq!(free_id(&entries(&["a", "b"]), b"1").unwrap(), b"c");
        assert_eq!(free_id(&entries(&["a", "b"]), b"17").unwrap(), b"a7");
        let letters: Vec<String> = ('a'..='z').chain('A'..='Z').map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(free_id(&entries(&letters), b"1"), None);
    }

    #[test]
    fn a_damaged_list_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let whole = image(&[("1", "one"), ("2", "two")]);
        fs::write(file.path(), &whole).unwrap();
        assert_eq!(told(file.path()), ["1 one", "2 two"]);
        fs::write(file.path(), &whole[..whole.len() - 8]).unwrap();
        assert!(is_misread(file.path(), "1").is_err());
    }
}
