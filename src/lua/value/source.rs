//! The source of scripts and modules, read as Lua's own loader reads it.

use std::path::Path;

use crate::error::{Error, Result};

/// The byte order mark, which some editors put before UTF-8 text.
pub const UTF8_MARK: char = '\u{feff}';
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// The first byte of compiled Lua.
const COMPILED: u8 = 0x1b;

/// Reads a script.
pub fn read_script(file: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file)
        .map_err(|cause| Error::usage(format!("cannot read the script `{}`", file.display())).cause(cause))?;
    text(bytes, &file.display().to_string())
}

/// Returns the Lua text of a file called `name`: without a byte order mark, and with an empty first line in place of
/// `#!`. Refuses anything that is not text.
pub fn text(mut bytes: Vec<u8>, name: &str) -> Result<Vec<u8>> {
    let mark = UTF8_MARK.to_string();
    if bytes.starts_with(mark.as_bytes()) {
        bytes.drain(..mark.len());
    }
    if bytes.first() == Some(&b'#') {
        let line = bytes.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(bytes.len());
        bytes.drain(..line);
    }
    let first = bytes.iter().find(|byte| !b"\r\n".contains(byte));
    if first == Some(&COMPILED) {
        return Err(Error::failed(format!("`{name}` is compiled Lua")).hint("run its source: only text is loaded"));
    }
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Error::failed(format!("`{name}` is UTF-16")).hint("save it as UTF-8"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<u8> {
        text(bytes.to_vec(), "x.lua").unwrap()
    }

    #[test]
    fn a_mark_and_a_line_for_the_kernel_are_left_out_and_lines_keep_their_numbers() {
        for (bytes, lua) in [
            (&b""[..], &b""[..]),
            (b"\xef\xbb\xbf", b""),
            (b"\xef\xbb\xbfreturn 1", b"return 1"),
            (b"#!/usr/bin/env -S snaptree run\nreturn 1\n", b"\nreturn 1\n"),
            (b"\xef\xbb\xbf#![[\r\nreturn 1\r\n", b"\r\nreturn 1\r\n"),
            (b"#!snaptree\rreturn 1\r", b"\rreturn 1\r"),
            (b"# only a comment", b""),
            (b"return '\xe9\0'", b"return '\xe9\0'"),
        ] {
            assert_eq!(read(bytes), lua);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        for (bytes, why) in [
            (&b"\x1bLua\x54"[..], "`x.lua` is compiled Lua\nhint: run its source: only text is loaded"),
            (b"#!lua\n\x1bLua\x54", "`x.lua` is compiled Lua\nhint: run its source: only text is loaded"),
            (b"\xff\xfep\0r\0", "`x.lua` is UTF-16\nhint: save it as UTF-8"),
            (b"\xfe\xff\0p\0r", "`x.lua` is UTF-16\nhint: save it as UTF-8"),
        ] {
            assert_eq!(text(bytes.to_vec(), "x.lua").unwrap_err().to_string(), why);
        }
    }
}
