//! Operations that look as if they would be another one in every run: with a time stamp or a random value in them.

/// Says whether two texts of the same operation differ only in what looks like chance.
pub fn differ_by_chance(was: &str, now: &str) -> bool {
    let (was, now) = (words(was), words(now));
    let mut differing = was.iter().zip(&now).filter(|(was, now)| was != now).peekable();
    was.len() == now.len()
        && differing.peek().is_some()
        && differing.all(|(was, now)| match (kind(was), kind(now)) {
            (Some(was), Some(now)) => was == now,
            _ => false,
        })
}

/// Splits a text where neither a number, a date nor a digest goes on.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || "-:.".contains(c))).filter(|word| !word.is_empty()).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Chance {
    /// Seconds, milli-, micro- or nanoseconds since the epoch, of this century.
    Clock,
    Date,
    Time,
    Uuid,
    /// Digits and letters as `openssl rand`, `mktemp` or a digest of a clock make them.
    Random,
}

fn kind(word: &str) -> Option<Chance> {
    let word = word.trim_matches(['.', ':', '-']);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let whole = word.split('.').next().unwrap_or_default();
    if is_digits(&word.replace('.', "")) && matches!(whole.len(), 10 | 13 | 16 | 19) && whole.starts_with(['1', '2']) {
        return Some(Chance::Clock);
    }
    if shape.starts_with("0000-00-00") || (word.len() == 14 && is_digits(word) && word.starts_with("20")) {
        return Some(Chance::Date);
    }
    if matches!(shape.as_str(), "00:00:00" | "00:00") || shape.starts_with("00:00:00.") {
        return Some(Chance::Time);
    }
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let groups: Vec<usize> = word.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && is_hex(&word.replace('-', "")) {
        return Some(Chance::Uuid);
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_mixed = digits >= 2 && letters >= 2 && digits + letters == word.len();
    (is_mixed && (word.len() >= 16 || word.len() >= 8 && is_hex(word))).then_some(Chance::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_random_values_are_told_from_changes() {
        for (was, now, expected) in [
            ("run \"echo 1732331520 > /stamp\"", "run \"echo 1732331999 > /stamp\"", true),
            ("run \"touch -d 2026-11-22T10:00:01 x\"", "run \"touch -d 2026-11-23T09:10:11 x\"", true),
            ("run \"echo 10:00:01\"", "run \"echo 11:12:13\"", true),
            (
                "run \"set-id 6f1e8a52-7a0d-4f51-9a51-0f6f3e0a1b2c\"",
                "run \"set-id 0b1c2d3e-1111-4222-8333-444455556666\"",
                true,
            ),
            ("run \"echo a1b2c3d4e5f60718\"", "run \"echo 99aabbcc00112233\"", true),
            ("run \"apt-get install mariadb-server=10.6\"", "run \"apt-get install mariadb-server=10.11\"", false),
            ("run \"echo 1\"", "run \"echo 2\"", false),
            ("run \"echo a\"", "run \"echo a b\"", false),
            ("run \"echo 1732331520\"", "run \"echo never\"", false),
            ("write /etc/conf 12 bytes", "write /etc/conf 13 bytes", false),
            ("run \"same\"", "run \"same\"", false),
        ] {
            assert_eq!(differ_by_chance(was, now), expected, "{was} and {now}");
        }
    }
}
