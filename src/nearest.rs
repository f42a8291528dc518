//! "Did you mean": finds the word that was probably meant.

use crate::error::Error;

pub fn no_such<'a>(what: &str, place: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    Error::failed(format!("there is no {what} {place}"))
        .hint(did_you_mean(name, known, || "`snaptree tree` lists what there is".to_string()))
}

/// Returns the hint that names the word that was probably meant, or else another one.
pub fn did_you_mean<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest(word, known).map_or_else(otherwise, |near| format!("did you mean `{near}`?"))
}

/// Finds the word that was probably meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ENOUGH: f64 = 0.75;
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["memory", "cpus", "image"];
        assert_eq!(nearest("memroy", known.into_iter()), Some("memory"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }
}
