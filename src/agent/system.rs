//! What only the agent itself can do with the system: its facts, and both of its clocks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::agent::calls::{Calls, PATIENT, QUICK};
use crate::agent::transport::Transport;
use crate::agent::{file, guest_program};
use crate::error::Result;

/// Returns what the agent knows about the system, if it can tell.
pub fn facts<T: Transport>(calls: &Calls<T>) -> Option<BTreeMap<String, String>> {
    let Ok(Value::Object(facts)) = calls.call("guest-get-osinfo", json!({}), PATIENT) else { return None };
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    Some(facts.into_iter().map(|(key, value)| (fact_name(&key), text(value))).collect())
}

fn fact_name(key: &str) -> String {
    match key {
        "kernel-release" => "kernel".to_string(),
        _ => key.replace('-', "_"),
    }
}

/// Sets the clock in the agent's own way, if there is no other: it also sets the hardware clock, which QEMU keeps right,
/// and takes until the next second.
pub fn set_both_clocks<T: Transport>(calls: &Calls<T>) -> Result<()> {
    let failed = |error| file::failure("cannot set the guest's clock", &error);
    let nanoseconds = u64::try_from(guest_program::time().as_nanos()).unwrap_or_default();
    calls.call("guest-set-time", json!({ "time": nanoseconds }), QUICK).map(drop).map_err(failed)
}
