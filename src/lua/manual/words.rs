//! The words of an annotation: types, which may have spaces in brackets, and what follows them.

/// Takes a type from the beginning of a text, such as `table<string, integer>` or `fun(guest: guest): string`.
pub fn take_type(text: &str) -> (&str, &str) {
    let (mut depth, mut quoted) = (0_u32, false);
    let mut last = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '<' | '{' | '[' => depth += 1,
            ')' | '>' | '}' | ']' => depth = depth.saturating_sub(1),
            // A function's result type follows its colon.
            ' ' if depth == 0 && last != ':' => return (&text[..at], text[at..].trim_start()),
            _ => {}
        }
        last = letter;
    }
    (text, "")
}

/// Takes a word, up to the next space.
pub fn take_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Splits at commas outside brackets.
pub fn split_list(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '<' | '{' | '[' => depth += 1,
            ')' | '>' | '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Splits the mark of an optional parameter off its name.
pub fn optional(name: &str) -> (String, bool) {
    let plain = name.strip_suffix('?');
    (plain.unwrap_or(name).to_string(), plain.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_ends_where_its_brackets_do() {
        for (text, type_, rest) in [
            ("string The name.", "string", "The name."),
            ("table<string, integer> By name.", "table<string, integer>", "By name."),
            ("fun(guest: guest): string What makes it.", "fun(guest: guest): string", "What makes it."),
            ("\"a b\"|\"c\" One.", "\"a b\"|\"c\"", "One."),
            ("snapshot?", "snapshot?", ""),
        ] {
            assert_eq!(take_type(text), (type_, rest));
        }
    }

    #[test]
    fn a_list_is_split_outside_of_brackets() {
        assert_eq!(split_list("a: table<b, c>, d?: e"), ["a: table<b, c>", "d?: e"]);
        assert_eq!(split_list(""), Vec::<&str>::new());
    }
}
