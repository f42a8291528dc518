//! Lists as tables.

use std::time::Duration;

use super::words::{one_line, or_dash, size, time};
use crate::image::CachedImage;
use crate::name::on_one_line;
use crate::tree::{ForkInfo, Forwarded, ForwardedBack, MachineView, SnapshotView, UndoView};

/// The head of a column; numbers are aligned to the right.
enum Head {
    Text(&'static str),
    Number(&'static str),
}

use Head::{Number, Text};

/// Draws a table, or returns `nothing` if it has no rows.
fn table(heads: &[Head], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let titles = heads.iter().map(|(Text(title) | Number(title))| title.to_string()).collect();
    let rows = rows.into_iter().map(|row| row.iter().map(|cell| on_one_line(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(heads).zip(&widths).map(|((cell, head), width)| match head {
            Text(_) => format!("{cell:<width$}"),
            Number(_) => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Draws the table of machines.
pub fn machines(machines: &[MachineView]) -> String {
    let row = |machine: &MachineView| {
        let current = or_dash(machine.current.as_deref()).to_string();
        vec![machine.name.clone(), machine.state.clone(), machine.snapshots.to_string(), current]
    };
    let heads = [Text("NAME"), Text("STATE"), Number("SNAPSHOTS"), Text("CURRENT")];
    table(&heads, machines.iter().map(row).collect(), "no machines")
}

/// Draws the table of snapshots, the current one marked.
pub fn snapshots(snapshots: &[SnapshotView], with_parent: bool) -> String {
    let row = |snapshot: &SnapshotView| {
        let mut row =
            vec![snapshot.label(), time(snapshot.created), snapshot.state.clone(), snapshot.kind.as_str().to_string()];
        if with_parent {
            row.push(or_dash(snapshot.parent.as_deref()).to_string());
        }
        row.push(one_line(&snapshot.comment));
        row
    };
    let mut heads = vec![Text("NAME"), Text("CREATION TIME"), Text("STATE"), Text("KIND")];
    if with_parent {
        heads.push(Text("PARENT"));
    }
    heads.push(Text("COMMENT"));
    table(&heads, snapshots.iter().map(row).collect(), "no snapshots")
}

/// Draws the table of changes that can be undone.
pub fn undo(entries: &[UndoView]) -> String {
    let row = |entry: &UndoView| {
        vec![entry.number.to_string(), time(entry.created), one_line(&entry.what), one_line(&entry.effect)]
    };
    let heads = [Number("NUMBER"), Text("TIME"), Text("WHAT WAS DONE"), Text("UNDO WOULD")];
    table(&heads, entries.iter().map(row).collect(), "nothing to undo")
}

/// Draws the table of running forks.
pub fn forks(forks: &[ForkInfo], now: u64) -> String {
    let row = |fork: &ForkInfo| {
        let forward = |forward: &Forwarded| format!("{} to {}", forward.address, forward.guest);
        let back = |forward: &ForwardedBack| format!("{} in it to {}", forward.address, forward.host);
        let forwards = fork.forwards.iter().map(forward).chain(fork.forwards_back.iter().map(back));
        let forwards = forwards.collect::<Vec<_>>().join(", ");
        let age = fork.since.map(|since| Duration::from_secs(now.saturating_sub(since)));
        vec![
            fork.name.clone(),
            format!("{}/{}", fork.machine, fork.of),
            or_dash(age.map(|age| humantime::format_duration(age).to_string()).as_deref()).to_string(),
            or_dash(fork.memory.map(size).as_deref()).to_string(),
            or_dash((!forwards.is_empty()).then_some(forwards.as_str())).to_string(),
            if fork.kept { "yes" } else { "no" }.to_string(),
            or_dash(fork.by.as_deref()).to_string(),
        ]
    };
    let heads =
        [Text("NAME"), Text("OF"), Text("AGE"), Number("MEMORY"), Text("FORWARDED"), Text("KEPT"), Text("STARTED BY")];
    table(&heads, forks.iter().map(row).collect(), "no forks")
}

/// Draws the table of cached images.
pub fn images(images: &[CachedImage]) -> String {
    let row =
        |image: &CachedImage| vec![image.name.clone(), image.kind.to_string(), size(image.size), image.digest.clone()];
    let heads = [Text("NAME"), Text("KIND"), Number("SIZE"), Text("DIGEST")];
    table(&heads, images.iter().map(row).collect(), "no images")
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn forks_have_a_line_each() {
        let fork = |name: &str, since, memory, forwards, forwards_back| ForkInfo {
            name: name.into(),
            machine: "db".into(),
            of: "warm".into(),
            kept: since == Some(40),
            since,
            by: since.map(|_| "root, process 7".into()),
            memory,
            forwards,
            forwards_back,
        };
        let ports = vec![Forwarded::new(3306, 40123), Forwarded::new(22, 40124)];
        let back = vec![ForwardedBack::new(8080, 80)];
        let list =
            [fork("db.fork-1", Some(40), Some(45 << 20), ports, vec![]), fork("db.fork-2", None, None, vec![], back)];
        assert_eq!(
            forks(&list, 4000),
            "\
NAME       OF       AGE      MEMORY  FORWARDED                                       KEPT  STARTED BY
db.fork-1  db/warm  1h 6m  45.0 MiB  127.0.0.1:40123 to 3306, 127.0.0.1:40124 to 22  yes   root, process 7
db.fork-2  db/warm  -             -  127.0.0.1:80 in it to 8080                      no    -
"
        );
        assert_eq!(forks(&[], 0), "no forks\n");
    }

    #[test]
    fn machines_have_a_line_each() {
        let machine = |name: &str, state: &str, snapshots, current: Option<&str>| MachineView {
            name: name.into(),
            uuid: String::new(),
            state: state.into(),
            persistent: true,
            snapshots,
            current: current.map(str::to_string),
            ours: true,
        };
        let list = [machine("kvm_debian12", "running", 12, Some("sn02")), machine("db", "shutoff", 0, None)];
        assert_eq!(
            machines(&list),
            "\
NAME          STATE    SNAPSHOTS  CURRENT
kvm_debian12  running         12  sn02
db            shutoff          0  -
"
        );
        assert_eq!(machines(&[]), "no machines\n");
    }

    #[test]
    fn snapshots_have_a_line_each() {
        let mut list = [snapshot("a", None), snapshot("b", Some("a"))];
        list[1].comment = "fresh\ninstall".into();
        let created = time(0);
        assert_eq!(
            snapshots(&list, false),
            format!(
                "\
NAME         CREATION TIME              STATE    KIND      COMMENT
a            {created}  shutoff  external
b (current)  {created}  shutoff  external  fresh install
"
            )
        );
        assert_eq!(
            snapshots(&list, true),
            format!(
                "\
NAME         CREATION TIME              STATE    KIND      PARENT  COMMENT
a            {created}  shutoff  external  -
b (current)  {created}  shutoff  external  a       fresh install
"
            )
        );
        assert_eq!(snapshots(&[], true), "no snapshots\n");
    }

    #[test]
    fn undo_entries_have_a_line_each() {
        let created = time(0);
        let entry =
            UndoView { number: 7, created: 0, what: "revert to sn02".into(), effect: "go back to what was".into() };
        assert_eq!(
            undo(&[entry]),
            format!(
                "\
NUMBER  TIME                       WHAT WAS DONE   UNDO WOULD
     7  {created}  revert to sn02  go back to what was
"
            )
        );
        assert_eq!(undo(&[]), "nothing to undo\n");
    }
}
