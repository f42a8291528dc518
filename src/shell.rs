//! Quotes names for a shell, in the commands that hints suggest.

/// Quotes a word.
pub fn word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    let is_told_as_it_is = !word.is_empty() && word.chars().all(is_plain);
    if is_told_as_it_is { word.to_string() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Quotes a name as the last word of a command, such that it is not taken for an option.
pub fn last(name: impl ToString) -> String {
    let name = name.to_string();
    if name.starts_with('-') { format!("-- {}", word(&name)) } else { word(&name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_needs_it() {
        assert_eq!(word("lab/データ_1.2"), "lab/データ_1.2");
        assert_eq!(word("lab/it's <it>"), r"'lab/it'\''s <it>'");
        assert_eq!(word(""), "''");
        assert_eq!(word(" a"), "' a'");
    }

    #[test]
    fn a_name_is_not_taken_for_an_option() {
        assert_eq!(last("lab"), "lab");
        assert_eq!(last("-a b"), "-- '-a b'");
        assert_eq!(last("lab/-pre"), "lab/-pre");
    }
}
