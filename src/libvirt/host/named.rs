//! The files named anywhere in a description.

use std::path::PathBuf;

use virt::connect::Connect;

use crate::libvirt::xml::element::Element;

/// Lists every absolute path among the attributes and texts of an element and all below it, also inside an argument of
/// QEMU's such as `memory-backend-file,mem-path=/a,size=1`.
pub fn files(element: &Element) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(element, &mut files);
    files.sort();
    files.dedup();
    files
}

fn collect(element: &Element, files: &mut Vec<PathBuf>) {
    let values = element.attributes.iter().map(|(_, value)| value).chain([&element.text]);
    for value in values {
        if value.starts_with('/') {
            files.push(value.into());
        }
        let parts = value.split(',').filter_map(|part| part.split_once('='));
        files.extend(parts.map(|(_, path)| path).filter(|path| path.starts_with('/')).map(PathBuf::from));
    }
    element.children.iter().for_each(|child| collect(child, files));
}

/// Lists the volumes that an element and all below it name: the pool and the volume.
pub fn volumes(element: &Element) -> Vec<(String, String)> {
    let mut volumes = Vec::new();
    if let (Some(pool), Some(volume)) = (element.get("pool"), element.get("volume")) {
        volumes.push((pool.to_string(), volume.to_string()));
    }
    volumes.extend(element.children.iter().flat_map(self::volumes));
    volumes
}

/// Returns the file of a volume, even if its pool is not active; nothing when there is none.
pub fn file_of(connect: &Connect, pool: &str, volume: &str) -> Option<PathBuf> {
    let pool = connect.lookup_storage_pool_by_name(pool).ok()?;
    let path = pool.lookup_storage_vol_by_name(volume).and_then(|volume| volume.path());
    let target = || Element::parse(&pool.xml_desc(0).ok()?).ok()?.find("target")?.text_of("path").map(PathBuf::from);
    path.map(PathBuf::from).ok().or_else(|| Some(target()?.join(volume)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_wherever_they_are_named() {
        let xml = "<domain><os><nvram>/n/vars &amp; more</nvram></os><devices><disk><source file='/d/a,b=c'/>\
            <backingStore><source file='/d/below'/></backingStore></disk></devices>\
            <qemu:commandline><qemu:arg value='memory-backend-file,id=ram,size=1,mem-path=/r/am,share=off'/></qemu:commandline>\
            </domain>";
        let files = files(&Element::parse(xml).unwrap());
        assert_eq!(files, ["/d/a,b=c", "/d/below", "/n/vars & more", "/r/am"].map(PathBuf::from));
    }

    #[test]
    fn volumes_are_found_by_their_pool() {
        let xml = "<domain><devices><disk><source pool='p' volume='v'/></disk></devices></domain>";
        assert_eq!(volumes(&Element::parse(xml).unwrap()), [("p".to_string(), "v".to_string())]);
    }
}
