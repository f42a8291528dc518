//! Times, sizes and lines in readable form.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes a time, in seconds since the epoch, as virsh does: local, with the offset from UTC.
pub fn time(seconds: u64) -> String {
    time_in(seconds, TimeZone::system())
}

fn time_in(seconds: u64, zone: TimeZone) -> String {
    let stamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    match stamp {
        Some(stamp) => stamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string(),
        None => seconds.to_string(),
    }
}

/// Writes a number of bytes.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Writes how long something took.
pub fn seconds(took: Duration) -> String {
    const MINUTE: u64 = 60;
    match took.as_secs() {
        0 => format!("{} ms", took.as_millis()),
        seconds if seconds < MINUTE => format!("{:.1} s", took.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / MINUTE, seconds % MINUTE),
    }
}

/// Blanks control characters, except tabs and newlines, in a text that may contain names and output of others.
pub fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\t' | '\n') { ' ' } else { c }).collect()
}

/// Makes one short line of a text.
pub fn one_line(text: &str) -> String {
    const WIDTH: usize = 100;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDTH).collect();
    if text.chars().count() > WIDTH { line + "..." } else { line }
}

/// Writes an optional name.
pub fn or_dash(name: Option<&str>) -> &str {
    name.unwrap_or("-")
}

pub fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_local_and_says_how_far_from_utc() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_in(1_795_399_800, TimeZone::UTC), "2026-11-23 02:10:00 +0000");
        assert_eq!(time_in(1_795_399_800, east), "2026-11-23 04:10:00 +0200");
        assert_eq!(time_in(u64::MAX, TimeZone::UTC), u64::MAX.to_string());
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(one_line(&"x".repeat(101)), "x".repeat(100) + "...");
    }
}
