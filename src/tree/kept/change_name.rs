//! How a change is named in the undo log.

use std::fmt;

use serde::{Deserialize, Serialize};

const UNDO: &str = "undo: ";

/// The name of a change, such as `revert to sn02`, or of its undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct ChangeName {
    what: String,
    /// Whether this is the undo of that change.
    is_undo: bool,
}

/// A name as it is read. Earlier versions wrote an undo as text before the name.
#[derive(Deserialize)]
struct Recorded {
    what: String,
    is_undo: Option<bool>,
}

impl ChangeName {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_undo: false }
    }

    /// Names the undo of this change. That of an undo is the change itself again.
    pub fn undone(&self) -> Self {
        Self { is_undo: !self.is_undo, ..self.clone() }
    }
}

impl From<Recorded> for ChangeName {
    fn from(Recorded { what, is_undo }: Recorded) -> Self {
        match (is_undo, what.strip_prefix(UNDO)) {
            (None, Some(undone)) => Self::new(undone).undone(),
            (is_undo, _) => Self { what, is_undo: is_undo.unwrap_or_default() },
        }
    }
}

impl fmt::Display for ChangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undo = if self.is_undo { UNDO } else { "" };
        write!(f, "{undo}{}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_undo_of_an_undo_is_the_change() {
        let change = ChangeName::new("revert to sn02");
        assert_eq!(change.undone().to_string(), "undo: revert to sn02");
        assert_eq!(change.undone().undone(), change);
    }

    #[test]
    fn an_undo_is_read_as_it_was_written_now_and_by_earlier_versions() {
        let read = |json: &str| serde_json::from_str::<ChangeName>(json).unwrap();
        let change = ChangeName::new("delete sn03");
        for name in [change.clone(), change.undone()] {
            assert_eq!(read(&serde_json::to_string(&name).unwrap()), name);
        }
        assert_eq!(read(r#"{"what": "delete sn03"}"#), change);
        assert_eq!(read(r#"{"what": "undo: delete sn03"}"#), change.undone());
    }
}
