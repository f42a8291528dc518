//! Numbers with their nouns.

/// Writes a number with its noun, such as `1 branch` or `2 branches`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_noun_has_the_number_of_its_number() {
        let branches = |count| counted(count, "branch", "branches");
        assert_eq!([branches(0), branches(1), branches(2)], ["0 branches", "1 branch", "2 branches"]);
    }
}
