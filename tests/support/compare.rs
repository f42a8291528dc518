//! Shows how one text differs from another.

/// Lists the lines of both texts: `-` only expected, `+` only actual, with the white space at a line's end made visible.
pub fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual) = (lines(expected), lines(actual));
    // common[i][j]: how many lines the rests from i and from j have in common.
    let mut common = vec![vec![0; actual.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..actual.len()).rev() {
            common[i][j] = if expected[i] == actual[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut shown = String::new();
    let mut show = |sign: char, line: &str| shown.push_str(&format!("{sign} {}\n", visible(line)));
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            show(' ', expected[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == actual.len() || (i < expected.len() && common[i + 1][j] >= common[i][j + 1]) {
            show('-', expected[i]);
            i += 1;
        } else {
            show('+', actual[j]);
            j += 1;
        }
    }
    shown
}

/// Splits into lines that keep their line feed, so that a missing last one is a difference.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn visible(line: &str) -> String {
    let Some(line) = line.strip_suffix('\n') else { return format!("{line}⏎ is missing") };
    let trimmed = line.trim_end_matches([' ', '\t', '\r']);
    let mark = |letter| match letter {
        ' ' => '·',
        '\t' => '→',
        _ => '␍',
    };
    format!("{trimmed}{}", line[trimmed.len()..].chars().map(mark).collect::<String>())
}

#[test]
fn a_difference_shows_what_is_missing_and_what_is_too_much() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n"), "  a\n- b\n+ x\n  c\n");
    assert_eq!(difference("a \n", "a"), "- a·\n+ a⏎ is missing\n");
    assert_eq!(difference("", "a\n"), "+ a\n");
}
