//! Output of a command run at the prompt: shown as it comes, without bytes that would control the terminal.

use std::io::{self, Write};

use crate::hypervisor::Stream;

#[derive(Default)]
pub struct ByHand {
    /// The first bytes of a character whose other bytes have not arrived yet.
    rest: Vec<u8>,
    /// Whether the last shown output did not end its line.
    is_in_line: bool,
}

impl ByHand {
    pub fn show(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let text = self.tamed(bytes);
        if text.is_empty() {
            return Ok(());
        }
        self.is_in_line = !text.ends_with('\n');
        let out: &mut dyn Write = match stream {
            Stream::Stdout => &mut io::stdout(),
            Stream::Stderr => &mut io::stderr(),
        };
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }

    /// Ends the line, if output left it unfinished.
    pub fn end_line(&mut self) {
        if std::mem::take(&mut self.is_in_line) {
            let _ = writeln!(io::stdout());
        }
    }

    /// Makes text from bytes, as far as they are complete characters.
    fn tamed(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let whole: Vec<u8> = self.rest.drain(..whole).collect();
        let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        String::from_utf8_lossy(&whole).chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_come_in_pieces_are_put_together_and_escapes_are_not_passed_on() {
        let mut by_hand = ByHand::default();
        let (first, second) = "データ".as_bytes().split_at(4);
        assert_eq!(by_hand.tamed(first), "デ");
        assert_eq!(by_hand.tamed(second), "ータ");
        assert_eq!(by_hand.tamed(b"a\x1b[2Jb\r\n"), "a [2Jb\r\n");
        assert_eq!(by_hand.tamed(b"\xff!"), "\u{fffd}!");
    }
}
