//! The options of a branch in a script.

use std::time::Duration;

use crate::name::SnapshotName;
use crate::tree::record::difference::inputs_difference;
use crate::tree::record::journal::Journal;
use crate::tree::record::key::NamedInputs;

/// A branch as the script specifies it.
#[derive(Clone, Debug)]
pub struct BranchSpec {
    pub name: SnapshotName,
    pub comment: String,
    /// Whether its RAM is kept; by default if the host can.
    pub live: Option<bool>,
    /// How long the step may take.
    pub timeout: Option<Duration>,
    pub inputs: NamedInputs,
    /// The age from which an earlier build is too old.
    pub max_age: Option<Duration>,
}

impl BranchSpec {
    pub fn new(name: SnapshotName) -> Self {
        let (comment, inputs) = (String::new(), NamedInputs::new());
        Self { name, comment, live: None, timeout: None, inputs, max_age: None }
    }

    /// Returns why an earlier result, from `when` at the latest, does not count, as far as that shows without the step.
    pub(in crate::tree) fn refuses(&self, journal: &Journal, when: u64) -> Option<String> {
        let is_other = inputs_difference(&journal.inputs, &self.inputs);
        is_other.or_else(|| too_old(crate::clock::now().saturating_sub(journal.begun(when)), self.max_age?))
    }
}

/// Returns why a node does not match `live`.
pub fn other_liveness(live: Option<bool>, is_live: bool) -> Option<String> {
    match (live?, is_live) {
        (true, false) => Some("it has no RAM, and `live = true` asks for it".to_string()),
        (false, true) => Some("it has its RAM, and `live = false` asks for its disks only".to_string()),
        _ => None,
    }
}

/// Describes an age past its limit, in the largest unit in which the limit is a whole number.
fn too_old(age: u64, max_age: Duration) -> Option<String> {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let limit = max_age.as_secs_f64().ceil() as u64;
    let (seconds, unit) = UNITS.into_iter().find(|(seconds, _)| limit.is_multiple_of(*seconds))?;
    let count = |time: u64| match time / seconds {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    };
    (age >= limit).then(|| format!("it is {} old, its max_age is {}", count(age), count(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_the_unit_of_its_limit() {
        for (age, max_age, expected) in [
            ("8d", "7d", Some("it is 8 days old, its max_age is 7 days")),
            ("7d", "1w", Some("it is 7 days old, its max_age is 7 days")),
            ("25h", "1d", Some("it is 1 day old, its max_age is 1 day")),
            ("37h", "36h", Some("it is 37 hours old, its max_age is 36 hours")),
            ("2h", "90m", Some("it is 120 minutes old, its max_age is 90 minutes")),
            ("1s", "300ms", Some("it is 1 second old, its max_age is 1 second")),
            ("0s", "300ms", None),
            ("6days 23h 59m 59s", "7d", None),
        ] {
            let [age, max_age] = [age, max_age].map(|time| humantime::parse_duration(time).unwrap());
            assert_eq!(too_old(age.as_secs(), max_age).as_deref(), expected);
        }
    }
}
