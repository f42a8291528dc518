//! Compiles the program that serves the host in guests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = "guest/main.rs";
/// Guests are of this kind; elsewhere the guest agent does what the program would.
const ARCHITECTURE: &str = "x86_64";

fn main() -> Result<()> {
    for part in ["guest", "src/channel/digest.rs", "src/channel/frame.rs", "src/agent/kill.sh"] {
        println!("cargo::rerun-if-changed={part}");
    }
    let program = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets no OUT_DIR")?).join("channel");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok(ARCHITECTURE) {
        compile(&program)
    } else {
        std::fs::write(&program, []).with_context(|| format!("cannot write `{}`", program.display()))
    }
}

fn compile(program: &Path) -> Result<()> {
    let compiler = std::env::var_os("RUSTC").context("cargo sets no RUSTC")?;
    let target = std::env::var("TARGET").context("cargo sets no TARGET")?;
    let language = ["--edition", "2024", "--crate-type", "bin", "--crate-name", "channel"];
    let small = ["panic=abort", "opt-level=s", "lto=fat", "codegen-units=1", "strip=symbols", "debuginfo=0"];
    let alone = ["relocation-model=static", "target-feature=+crt-static", "default-linker-libraries=no"];
    let link = "link-args=-nostdlib -nostartfiles -static -no-pie -Wl,--build-id=none -Wl,--gc-sections -Wl,-z,noseparate-code";
    let output = Command::new(&compiler)
        .args(language)
        .args(["--target", &target])
        .args(small.into_iter().chain(alone).chain([link]).flat_map(|option| ["-C", option]))
        .arg("-o")
        .args([program, Path::new(SOURCE)])
        .output()
        .with_context(|| format!("cannot run `{}`", compiler.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot compile {SOURCE}:\n{said}");
    for warning in said.lines() {
        println!("cargo::warning={warning}");
    }
    Ok(())
}
