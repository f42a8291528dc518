//! Which parts of a file hold data.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// A part of a file that holds data, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub length: u64,
}

/// Lists the parts of a file that hold data; `None` if there is no hole.
pub fn parts(file: &File, size: u64) -> io::Result<Option<Vec<Part>>> {
    let mut parts = Vec::new();
    let mut place = 0;
    while place < size {
        let offset = match seek(file, SeekFrom::Data(place)) {
            Ok(offset) if offset < size => offset,
            Ok(_) | Err(Errno::NXIO) => break,
            // The file system does not tell.
            Err(_) => return rewound(file, None),
        };
        let end = seek(file, SeekFrom::Hole(offset))?.min(size);
        if end <= offset {
            break;
        }
        parts.push(Part { offset, length: end - offset });
        place = end;
    }
    let is_whole = size == 0 || parts == [Part { offset: 0, length: size }];
    rewound(file, (!is_whole).then_some(parts))
}

fn rewound<T>(file: &File, value: T) -> io::Result<T> {
    seek(file, SeekFrom::Start(0))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_are_told_from_data() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(parts(&file, 0).unwrap(), None);
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(parts(&file, 4096).unwrap(), None);
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&[2; 4096], 2 << 20).unwrap();
        let expected = [Part { offset: 0, length: 4096 }, Part { offset: 2 << 20, length: 4096 }];
        assert_eq!(parts(&file, 4 << 20).unwrap().unwrap(), expected);
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(1 << 20).unwrap();
        assert_eq!(parts(&empty, 1 << 20).unwrap().unwrap(), []);
    }
}
