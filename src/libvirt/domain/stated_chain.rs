//! Backing chains that a description states (`<backingStore>`), compared with those in the images' headers.
//!
//! QEMU is started with the stated chain, while everything else here goes by the headers: if they differ, an overlay
//! would show something else than the domain does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::hypervisor::Image;
use crate::libvirt::image::qcow2;
use crate::libvirt::xml::element::Element;

/// What a description states below an image.
enum Stated {
    Image(Image),
    /// Nothing, explicitly.
    End,
    /// Something that is not compared.
    Other,
}

/// Says how the chain that a disk's description states differs from the image's own.
pub fn difference(disk: &Element) -> Option<String> {
    let top = Image::new(disk.find("source")?.get("file")?, disk.find("driver")?.get("type")?);
    let mut stated = disk.find("backingStore")?;
    let told = match qcow2::backing_chain(&top) {
        Ok(told) => told,
        Err(error) => {
            let why = error.causes.join(": ");
            return Some(format!("the backing chain that its description states cannot be checked: {why}"));
        }
    };
    let mut above = &top;
    for depth in 0.. {
        let told = told.get(depth);
        match read(stated) {
            Stated::Other => return None,
            Stated::End => return told.map(|told| differs(above, "nothing".to_string(), Some(told))),
            Stated::Image(image) => match told.filter(|told| is_same(&image, told)) {
                Some(same) => above = same,
                None => return Some(differs(above, named(&image), told)),
            },
        }
        // Without it, the headers determine the rest.
        stated = stated.find("backingStore")?;
    }
    None
}

fn read(stated: &Element) -> Stated {
    let Some(kind) = stated.get("type") else { return Stated::End };
    let file = stated.find("source").and_then(|source| source.get(if kind == "block" { "dev" } else { "file" }));
    match (file, stated.find("format").and_then(|format| format.get("type"))) {
        (Some(file), Some(format)) => Stated::Image(Image::new(file, format)),
        _ => Stated::Other,
    }
}

fn is_same(one: &Image, other: &Image) -> bool {
    let id = |file: &Path| fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    one.format == other.format
        && (one.file == other.file || id(&one.file).is_some_and(|one| id(&other.file) == Some(one)))
}

fn named(image: &Image) -> String {
    format!("`{}` ({})", image.file.display(), image.format)
}

fn differs(above: &Image, stated: String, told: Option<&Image>) -> String {
    let told = told.map_or_else(|| "nothing".to_string(), named);
    format!("its description puts {stated} below `{}`, and the image itself {told}", above.file.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What differs of a disk on an image without a backing file, with this in its description.
    fn difference_of(stated: &str) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let (top, base) = (directory.path().join("top"), directory.path().join("base"));
        fs::write(&base, "").unwrap();
        crate::libvirt::image::overlay::create(&top, &Image::new(&base, "raw")).unwrap();
        let stated = stated.replace("BASE", base.to_str().unwrap());
        let disk = format!(
            "<disk type='file'><driver name='qemu' type='qcow2'/><source file='{}'/>{stated}</disk>",
            top.display()
        );
        let difference = difference(&Element::parse(&disk).unwrap());
        difference.map(|why| why.replace(directory.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn a_chain_that_is_stated_has_to_be_the_images_own() {
        let below = |format: &str, file: &str, more: &str| {
            format!("<backingStore type='file'><format type='{format}'/><source file='{file}'/>{more}</backingStore>")
        };
        for same in ["", &below("raw", "BASE", ""), &below("raw", "BASE", "<backingStore/>")] {
            assert_eq!(difference_of(same), None, "{same}");
        }
        let differs = |stated: &str| difference_of(stated).unwrap();
        assert_eq!(
            differs("<backingStore/>"),
            "its description puts nothing below `DIR/top`, and the image itself `DIR/base` (raw)"
        );
        assert_eq!(
            differs(&below("qcow2", "BASE", "")),
            "its description puts `DIR/base` (qcow2) below `DIR/top`, and the image itself `DIR/base` (raw)"
        );
        assert_eq!(
            differs(&below("raw", "/other", "")),
            "its description puts `/other` (raw) below `DIR/top`, and the image itself `DIR/base` (raw)"
        );
        assert_eq!(
            differs(&below("raw", "BASE", &below("raw", "/other", ""))),
            "its description puts `/other` (raw) below `DIR/base`, and the image itself nothing"
        );
        assert_eq!(difference_of("<backingStore type='network'><format type='raw'/></backingStore>"), None);
    }
}
