use std::thread;

/// The main thread has as much stack as the shell allows (`ulimit -s`), which may be too little for Lua.
const STACK: usize = 8 << 20;

fn main() {
    let work = thread::Builder::new().stack_size(STACK).spawn(snaptree::cli::main);
    let code = work.map(thread::JoinHandle::join);
    // A panic was reported where it happened; where no thread can be made, the main one has to do.
    const PANICKED: i32 = 101;
    std::process::exit(match code {
        Ok(code) => code.unwrap_or(PANICKED),
        Err(_) => snaptree::cli::main(),
    });
}
