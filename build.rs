//! Compiles the program that lies in the memory of guests until they resume.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = "src/agent/waker.c";

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CC");
    let program = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets no OUT_DIR")?).join("waker");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        // Guests are of this kind; elsewhere they are told the time by `date` alone.
        return std::fs::write(&program, []).with_context(|| format!("cannot write `{}`", program.display()));
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let alone = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"];
    let small = ["-Os", "-s", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"];
    let status =
        Command::new(&compiler).args(alone).args(small).arg("-Wall").arg("-o").arg(program).arg(SOURCE).status();
    let status = status.with_context(|| format!("cannot run `{compiler}`"))?;
    ensure!(status.success(), "`{compiler}` cannot compile {SOURCE}");
    Ok(())
}
