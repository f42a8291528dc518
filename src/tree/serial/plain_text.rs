//! What a console prints, as text without the rest.

use vte::{Parser, Perform};

/// The most bytes of text that are kept.
const MOST: usize = 1 << 20;

/// Text without the sequences and characters that move the cursor, set colours or ring bells; lines end in `\n`.
#[derive(Default)]
pub struct PlainText {
    parser: Parser,
    text: Text,
}

#[derive(Default)]
struct Text(String);

impl Perform for Text {
    fn print(&mut self, letter: char) {
        self.0.push(letter);
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\t') {
            self.0.push(byte.into());
        }
    }
}

impl PlainText {
    /// Adds what was printed; sequences may come in parts. Only the end of a long text is kept.
    pub fn add(&mut self, bytes: &[u8]) {
        self.parser.advance(&mut self.text, bytes);
        let text = &mut self.text.0;
        if text.len() > MOST {
            let first = (text.len() - MOST..).find(|place| text.is_char_boundary(*place)).unwrap_or_default();
            text.drain(..first);
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text.0
    }

    /// Removes the first `length` bytes.
    pub fn remove(&mut self, length: usize) {
        self.text.0.drain(..length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pieces: &[&[u8]]) -> String {
        let mut text = PlainText::default();
        pieces.iter().for_each(|piece| text.add(piece));
        text.as_str().to_string()
    }

    #[test]
    fn only_text_and_the_ends_of_lines_stay() {
        assert_eq!(plain(&[b"\x1b[2J\x1b[1;31mred\x1b[0m\x07 \tx\r\ny\x1b]0;title\x07z"]), "red \tx\nyz");
        assert_eq!(plain(&[b"caf\xc3", b"\xa9 \x1b[", b"1mbold"]), "café bold");
        assert_eq!(plain(&[b"a\xff\xfeb"]), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn of_a_long_text_the_end_stays() {
        let mut text = PlainText::default();
        text.add("é".repeat(MOST).as_bytes());
        text.add(b"end");
        assert!(text.as_str().len() <= MOST && text.as_str().ends_with("éend"));
    }
}
