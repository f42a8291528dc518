//! The code in a document.

use std::fmt;

use crate::support::repository;

/// A fenced block.
pub struct Block {
    document: &'static str,
    line: usize,
    pub language: String,
    /// What follows the language: the name of the file that the block is.
    pub file: Option<String>,
    pub text: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the block `{}` at {}:{}", self.language, self.document, self.line)
    }
}

/// Reads a file of the repository.
pub fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("cannot read `{name}`: {error}"))
}

pub fn blocks(document: &'static str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in read(document).lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (None, None) => {}
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (Some(""), open @ Some(_)) => blocks.extend(open.take()),
            (Some(info), Some(block)) => panic!("{block} has ```{info} in it"),
            (Some(info), None) => {
                let (language, file) = info.split_once(' ').map_or((info, None), |(it, file)| (it, Some(file)));
                let (language, file) = (language.to_string(), file.map(str::to_string));
                open = Some(Block { document, line: number + 1, language, file, text: String::new() });
            }
        }
    }
    assert!(open.is_none(), "{document} ends in a block");
    blocks
}

/// Lists the code between single backticks, outside of blocks.
pub fn inline_code(document: &str) -> Vec<&str> {
    let outside = document.split("```").step_by(2);
    outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}
