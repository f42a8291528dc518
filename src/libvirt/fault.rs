//! libvirt's errors as ours.

use virt::error::{Error as VirtError, ErrorNumber};

use crate::error::Error;

/// Makes the error that `message` failed for libvirt's reason, with a hint if there is an obvious one.
pub fn failed(message: impl Into<String>, error: &VirtError) -> Error {
    let text = cause(error);
    let explained = Error::failed(message).cause(text);
    match hint(code(error), text) {
        Some(hint) => explained.hint(hint),
        None => explained,
    }
}

/// Returns libvirt's message, without the name of its error code in front.
pub fn cause(error: &VirtError) -> &str {
    const CODES: [&str; 4] =
        ["internal error: ", "operation failed: ", "Requested operation is not valid: ", "unsupported configuration: "];
    let text = error.message();
    CODES.iter().find_map(|code| text.strip_prefix(code)).unwrap_or(text)
}

pub fn code(error: &VirtError) -> ErrorNumber {
    error.code().unwrap_or(ErrorNumber::InternalError)
}

/// Says whether there is no domain of that name, or no longer one.
pub fn is_missing_domain(error: &VirtError) -> bool {
    code(error) == ErrorNumber::NoDomain
}

fn hint(code: ErrorNumber, text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let has = |part: &str| lower.contains(part);
    if has("already exists with uuid") || has("is already active as") || code == ErrorNumber::DomExist {
        Some("a domain of that name exists already; choose another name, or remove that one: `virsh undefine NAME`")
    } else if has("libvirt-sock") || has("virtqemud-sock") || has("system bus") || has("authentication unavailable") {
        Some("is libvirt's daemon running, and are you in the group `libvirt`? `--connect embed` needs neither")
    } else if has("could not open") && has("permission denied") || has("cannot access storage file") {
        Some("QEMU must be able to reach the file; SNAPTREE_STORE chooses a directory that it can reach")
    } else if has("cannot find") && has("network") || code == ErrorNumber::NoNetwork {
        Some("`virsh net-list --all` shows the networks, `virsh net-start NAME` starts one")
    } else if has("firmware that is compatible") {
        Some("UEFI firmware is a package of its own: Debian's and Ubuntu's is `ovmf`")
    } else if has("active console session") {
        Some("it is open in `virsh console` or `snaptree console`; `virsh console NAME --force` takes it over")
    } else if has("guest agent is not") {
        Some("the guest has to run the QEMU guest agent, on a channel `org.qemu.guest_agent.0`")
    } else if has("must include the memory state") {
        Some("an internal snapshot holds the RAM of a running guest; without it, take an external one")
    } else if has("invalid job id") {
        Some("QEMU takes only letters, digits, `-`, `.` and `_` in the name of a running guest's internal snapshot")
    } else if has("halt after transient domain snapshot") {
        Some("a transient domain is gone once it is halted: leave that out, or make it persistent with `virsh define`")
    } else if has("is not the same as disk image currently used") {
        Some("shut the domain off first: the snapshot is in another file than the one that the guest uses now")
    } else if has("paused due to previous migration") || has("is writable but does not support snapshots") {
        Some("let the guest run for a moment: `virsh resume NAME`, then `virsh suspend NAME`")
    } else if has("while checkpoint exists") {
        Some("start it, paused if need be, and take the snapshot then, or remove its backup checkpoints")
    } else if has("does not support live migration") {
        Some(
            "the RAM cannot be saved over such a disk: shut the guest down first, or take a snapshot with `--disk-only`",
        )
    } else if has("lock") && has("failed to get") {
        Some("another guest or program uses the file")
    } else if code == ErrorNumber::SnapshotRevertRisky {
        Some("`force` reverts all the same, and loses the state that the guest has now")
    } else if has("failed to parse json: nesting too deep") {
        Some("the chain of layers is too deep for this libvirt")
    } else {
        None
    }
}
