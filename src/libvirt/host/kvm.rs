//! Proof that guest code runs under KVM.
//!
//! That `/dev/kvm` opens proves nothing: if the host is itself virtualised, KVM may merely emulate one instruction
//! after the other, a thousand times slower than a processor and too slow for any firmware. So a loop of ten million
//! iterations, which takes a processor some 20 ms, gets two seconds to end QEMU with a status of its choice.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Result};
use crate::hypervisor::Accelerator;

const DEVICE: &str = "/dev/kvm";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const LIMIT: Duration = Duration::from_secs(2);
/// What the guest code writes to the port of `isa-debug-exit`.
const SIGN: u8 = 0x2a;
const TURNS: u32 = 10_000_000;

/// The answer as it is cached: for this boot and this emulator.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    boot_id: String,
    emulator: String,
    accelerator: Accelerator,
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
enum Trial {
    Executed,
    Hung,
    Refused(String),
}

/// Says whether guest code runs under KVM with `emulator`; the answer is stored in `cache`.
pub fn accelerator(emulator: &str, cache: &Path) -> Result<Accelerator> {
    match fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(slow("there is no /dev/kvm here")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Ok(slow("/dev/kvm may not be opened (are you in the group `kvm`?)"));
        }
        Err(error) => return Ok(slow(&format!("/dev/kvm does not open ({error})"))),
    }
    let file = cache.join("kvm.json");
    let boot_id = boot_id();
    let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
    if let Some(known) = known.filter(|known| known.boot_id == boot_id && known.emulator == emulator) {
        return Ok(known.accelerator);
    }
    // A guest gets the host's processor, which not every host can pass on.
    let trial = match attempt(emulator, &["-accel", "kvm"])? {
        Trial::Executed => attempt(emulator, &["-accel", "kvm", "-cpu", "host"])?,
        trial => trial,
    };
    let accelerator = match trial {
        Trial::Executed => Accelerator::Kvm,
        Trial::Refused(cause) => slow(&format!("QEMU does not run with KVM here ({cause})")),
        Trial::Hung => slow(&format!("KVM does not execute guest code here (no answer within {} s)", LIMIT.as_secs())),
    };
    // If the machine is so busy that software emulation is late too, the next run should ask again.
    if accelerator == Accelerator::Kvm || attempt(emulator, &["-accel", "tcg"])? == Trial::Executed {
        let answer = Answer { boot_id, emulator: emulator.to_string(), accelerator: accelerator.clone() };
        remember(&file, &answer);
    }
    Ok(accelerator)
}

/// Identifies the current boot of the host's kernel.
pub fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_string()
}

fn slow(reason: &str) -> Accelerator {
    Accelerator::Tcg(format!("{reason}: using TCG, which is slower"))
}

/// Stores an answer in a file of the cache.
pub fn remember(file: &Path, answer: &impl Serialize) {
    // A cache that cannot be written only costs two seconds in each run.
    let Some(directory) = file.parent() else { return };
    if let Ok(text) = serde_json::to_vec_pretty(answer) {
        let _ = crate::paths::make_passable(directory);
        let temporary = directory.join(format!("answer.{}", std::process::id()));
        let _ = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, file));
    }
}

/// The firmware: 64 KiB that end at 4 GiB, where a processor starts 16 bytes before the end.
fn firmware() -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    const HALT: u8 = 0xf4;
    let turns = TURNS.to_le_bytes();
    let sum = (1..=TURNS).fold(0_u32, u32::wrapping_add).to_le_bytes();
    let mut rom = vec![HALT; SIZE];
    let mut put = |from_end: usize, bytes: &[u8]| rom[SIZE - from_end..][..bytes.len()].copy_from_slice(bytes);
    // In real mode: cli; lgdt cs:[0xff80]; set the bit PE of cr0; jmp 8:0xffffff20.
    put(0x100, &[0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x80, 0xff, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0]);
    put(0xf0, &[0x66, 0xea, 0x20, 0xff, 0xff, 0xff, 0x08, 0x00]);
    // In protected mode: mov ax, 16; mov ds, ax; mov ecx, TURNS; mov dword [0x8000], 0.
    put(0xe0, &[0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0xb9, turns[0], turns[1], turns[2], turns[3]]);
    put(0xd5, &[0xc7, 0x05, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]);
    // turn: add [0x8000], ecx; loop turn; mov al, SIGN; cmp dword [0x8000], sum; je +2; mov al, 0.
    put(0xcb, &[0x01, 0x0d, 0x00, 0x80, 0x00, 0x00, 0xe2, 0xf8, 0xb0, SIGN]);
    put(0xc1, &[0x81, 0x3d, 0x00, 0x80, 0x00, 0x00, sum[0], sum[1], sum[2], sum[3], 0x74, 0x02, 0xb0, 0x00]);
    // out 0xf4, al; and halt.
    put(0xb3, &[0xe6, 0xf4]);
    // The table: its length and place; nothing, code, data, both flat and 32 bits wide.
    put(0x80, &[0x17, 0x00, 0x88, 0xff, 0xff, 0xff]);
    put(0x70, &[0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00]);
    put(0x78, &[0; 8]);
    // The start: jmp to the first line.
    put(0x10, &[0xe9, 0x0d, 0xff]);
    rom
}

fn attempt(emulator: &str, accelerator: &[&str]) -> Result<Trial> {
    let failed = || "cannot try whether KVM works".to_string();
    let directory = tempfile::tempdir().because(failed)?;
    let bios = directory.path().join("rom");
    fs::write(&bios, firmware()).because(failed)?;
    let child = Command::new(emulator)
        .args(accelerator)
        .args(["-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-bios"])
        .arg(&bios)
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => watch(child),
        Err(error) => Ok(Trial::Refused(format!("`{emulator}`: {error}"))),
    }
}

fn watch(mut child: Child) -> Result<Trial> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let failed = || "cannot wait for QEMU".to_string();
        if let Some(status) = child.try_wait().because(failed)? {
            if status.code() == Some(i32::from(SIGN) << 1 | 1) {
                return Ok(Trial::Executed);
            }
            let output = child.wait_with_output().because(failed)?;
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().find(|line| !line.contains("warning:")).unwrap_or("it ended at once");
            let words = first.split_once("error: ").map_or(first, |(_, words)| words);
            return Ok(Trial::Refused(words.trim().to_string()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Killed or already gone, which is the same here.
    let _ = child.kill();
    let _ = child.wait();
    Ok(Trial::Hung)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs QEMU"]
    fn the_firmware_runs_under_emulation() {
        assert_eq!(attempt("qemu-system-x86_64", &["-accel", "tcg"]).unwrap(), Trial::Executed);
    }

    #[test]
    fn an_emulator_that_does_not_start_is_a_refusal() {
        assert!(matches!(attempt("/nope/qemu", &[]).unwrap(), Trial::Refused(_)));
        assert!(matches!(attempt("/bin/false", &[]).unwrap(), Trial::Refused(_)));
    }
}
