//! The subject of an error about an image: the given file, or something inside it.

use std::io;

use crate::error::{Because, Error, Result};
use crate::image::content::kind::Trouble;

const GET_IT: &str = "the file is damaged or not complete: get it again";

/// A given file, or something unpacked from it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the user knows the given file by.
    image: String,
    inside: Inside,
}

#[derive(Clone, Debug)]
enum Inside {
    Given,
    Unpacked,
    Member(String),
}

impl Subject {
    pub fn given(image: &str) -> Self {
        Self { image: image.to_string(), inside: Inside::Given }
    }

    /// What the user knows the given file by.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// This file without its compression.
    pub fn unpacked(&self) -> Self {
        let inside = match &self.inside {
            Inside::Member(name) => Inside::Member(name.clone()),
            Inside::Given | Inside::Unpacked => Inside::Unpacked,
        };
        Self { image: self.image.clone(), inside }
    }

    /// A file in this archive.
    pub fn member(&self, name: &str) -> Self {
        Self { image: self.image.clone(), inside: Inside::Member(name.to_string()) }
    }

    /// Returns the error for `trouble` with this file.
    pub fn refuse(&self, trouble: &Trouble) -> Error {
        let (who, file) = match &self.inside {
            Inside::Given => ("it".to_string(), self.image.as_str()),
            Inside::Unpacked => ("unpacked, it".to_string(), "FILE"),
            Inside::Member(name) => (format!("`{name}` in it"), name.as_str()),
        };
        Error::failed(format!("cannot use image `{}`", self.image))
            .cause(format!("{who} {}", trouble.cause))
            .hint(trouble.hint.replace("FILE", file))
    }

    /// Returns the error for a file that cannot be read to its end.
    pub fn damaged(&self, error: &io::Error) -> Error {
        let failed = Error::failed(format!("cannot unpack image `{}`", self.image));
        let said = error.to_string();
        if error.kind() == io::ErrorKind::UnexpectedEof || said.contains("EOF") || said.contains("incomplete frame") {
            return failed.cause("it ends too early").hint(GET_IT);
        }
        if said.contains("emory") {
            return failed
                .cause("unpacking it takes more than 512 MiB of memory")
                .hint("pack it with a smaller window");
        }
        failed.cause(said).hint(GET_IT)
    }

    /// Fails if the file cannot be examined, or if there is trouble with it.
    pub fn accept(&self, found: io::Result<Option<Trouble>>) -> Result<()> {
        let trouble = found.because(|| format!("cannot read the image `{}`", self.image))?;
        trouble.map_or(Ok(()), |trouble| Err(self.refuse(&trouble)))
    }
}
