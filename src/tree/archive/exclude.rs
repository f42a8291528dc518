//! Which entries of a directory are left out.

use std::path::Path;

use glob::{MatchOptions, Pattern};

use crate::error::{Error, Result};

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Patterns like those of a `.gitignore`. One without a slash matches a name in any directory, another one a path from
/// the top; a slash at its end limits it to directories. `*` and `?` match no slash, `**` any directories, `[a-z]` one
/// letter. A directory that matches is left out with everything in it.
#[derive(Clone, Debug, Default)]
pub struct Exclude(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    text: String,
    pattern: Pattern,
    /// Whether the whole path is compared instead of the name.
    is_path: bool,
    only_directories: bool,
}

impl Exclude {
    pub fn new(patterns: &[String]) -> Result<Self> {
        patterns.iter().map(|pattern| Rule::new(pattern)).collect::<Result<_>>().map(Self)
    }

    /// Says whether an entry is left out, by its path below the top; what is above it is not looked at.
    pub fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let whole = path.to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.0.iter().any(|rule| {
            let text = if rule.is_path { &whole } else { &name };
            (is_directory || !rule.only_directories) && rule.pattern.matches_with(text, OPTIONS)
        })
    }

    /// Says whether an entry is left out, or a directory that it is in.
    pub fn covers(&self, path: &Path, is_directory: bool) -> bool {
        let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        self.matches(path, is_directory) || above.into_iter().any(|above| self.matches(above, true))
    }

    /// Returns the patterns as they were written.
    pub fn patterns(&self) -> Vec<String> {
        self.0.iter().map(|rule| rule.text.clone()).collect()
    }
}

impl Rule {
    fn new(text: &str) -> Result<Self> {
        let wrong = || Error::failed(format!("cannot exclude {text:?}"));
        if text.starts_with('!') {
            return Err(wrong().cause("a pattern cannot include again what others exclude"));
        }
        let (rest, only_directories) = text.strip_suffix('/').map_or((text, false), |rest| (rest, true));
        let is_path = rest.contains('/');
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(wrong().cause("the pattern has no name"));
        }
        let pattern = Pattern::new(rest).map_err(|error| wrong().cause(error.msg))?;
        Ok(Self { text: text.to_string(), pattern, is_path, only_directories })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_names_anywhere_or_paths_from_the_top() {
        for (pattern, path, is_directory, expected) in [
            ("*.o", "a.o", false, true),
            ("*.o", "src/deep/a.o", false, true),
            ("*.o", "a.oo", false, false),
            (".git", ".git", true, true),
            (".git", "sub/.git", true, true),
            (".git", ".github", true, false),
            ("build/", "build", true, true),
            ("build/", "build", false, false),
            ("/build", "build", true, true),
            ("/build", "sub/build", true, false),
            ("docs/*.md", "docs/a.md", false, true),
            ("docs/*.md", "docs/sub/a.md", false, false),
            ("docs/*.md", "sub/docs/a.md", false, false),
            ("docs/**/a.md", "docs/x/y/a.md", false, true),
            ("**/docs/a.md", "x/docs/a.md", false, true),
            ("[ab].txt", "b.txt", false, true),
            ("?.txt", "ab.txt", false, false),
            ("*", ".hidden", false, true),
        ] {
            let exclude = Exclude::new(&[pattern.to_string()]).unwrap();
            assert_eq!(exclude.matches(Path::new(path), is_directory), expected, "{pattern} and {path}");
        }
    }

    #[test]
    fn what_is_in_an_excluded_directory_is_covered() {
        let exclude = Exclude::new(&["target".to_string()]).unwrap();
        assert!(
            exclude.covers(Path::new("a/target/debug/x"), false) && !exclude.covers(Path::new("a/targets/x"), false)
        );
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_an_error() {
        let error = |pattern: &str| Exclude::new(&[pattern.to_string()]).unwrap_err().to_string();
        assert_eq!(error("!a"), "cannot exclude \"!a\": a pattern cannot include again what others exclude");
        assert_eq!(error("/"), "cannot exclude \"/\": the pattern has no name");
        assert_eq!(error("a[b"), "cannot exclude \"a[b\": invalid range pattern");
    }
}
