use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::event::Events;
use crate::image::{Claim, Image, ImageCache};
use crate::stop::Interrupt;

fn build(cache: &ImageCache, image: &Image) {
    let Claim::Build(workshop) = cache.claim(image, &Events::none(), &Interrupt::default()).unwrap() else {
        panic!("already built")
    };
    workshop.write("disk.qcow2", b"QFI\xfb", 0o644).unwrap();
    workshop.finish().unwrap();
}

#[test]
fn a_cache_that_cannot_be_made_fails_only_what_is_to_be_kept_in_it() {
    let cache = ImageCache::open(Path::new("/dev/null/cache"));
    assert!(cache.list().unwrap().is_empty());
    let image = Image::built("tiny", json!({}), None).unwrap();
    assert!(cache.lookup(&image.digest).is_none());
    let refused = cache.claim(&image, &Events::none(), &Interrupt::default()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "cannot make `/dev/null/cache/images`: Not a directory\nhint: SNAPTREE_CACHE names another directory for the \
         cache"
    );
}

#[test]
fn built_images_are_listed_and_removed_by_name_or_digest() {
    let directory = tempfile::tempdir().unwrap();
    let cache = ImageCache::open(directory.path());
    assert_eq!(cache.find("tiny").unwrap_err().to_string(), "the cache has no image `tiny`\nhint: the cache is empty");
    let [a, b] = ["a", "b"].map(|x| Image::built("tiny", json!({ "x": x }), None).unwrap());
    build(&cache, &a);
    build(&cache, &b);
    let names: Vec<String> = cache.list().unwrap().into_iter().map(|image| image.name).collect();
    assert_eq!(names, ["tiny", "tiny"]);
    assert!(cache.find("tiny").unwrap_err().to_string().starts_with("`tiny` names 2 images\nhint: use the beginning"));
    let found = cache.find(&a.digest[..20]).unwrap();
    assert_eq!(found.digest, a.digest);
    cache.remove(&found).unwrap();
    assert_eq!(cache.find("other").unwrap_err().hint.unwrap(), "it has tiny");
    assert!(cache.lookup(&a.digest).is_none());
    assert!(cache.lookup(&b.digest).is_some());
    cache.remove(&cache.find("tiny").unwrap()).unwrap();
    assert!(cache.list().unwrap().is_empty());
}

#[test]
fn of_two_builders_the_second_waits_and_finds_it_built() {
    let directory = tempfile::tempdir().unwrap();
    let cache = ImageCache::open(directory.path());
    let image = Image::built("tiny", json!({}), None).unwrap();
    let builds: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| match cache.claim(&image, &Events::none(), &Interrupt::default()).unwrap() {
                    Claim::Ready(_) => false,
                    Claim::Build(workshop) => {
                        workshop.run(&["sleep".into(), "0.3".into()], None, &BTreeMap::new()).unwrap();
                        workshop.write("disk.qcow2", b"QFI\xfb", 0o644).unwrap();
                        workshop.finish().unwrap();
                        true
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(builds.iter().filter(|built| **built).count(), 1);
}
