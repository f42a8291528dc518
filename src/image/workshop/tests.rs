mod cache;

use super::*;
use crate::image::workshop::Claim;
use serde_json::json;

struct Bench {
    directory: TempDir,
    events: Arc<Mutex<Vec<String>>>,
    interrupt: Interrupt,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, events: Arc::default(), interrupt: Interrupt::default() }
    }

    fn workshop(&self) -> Workshop {
        let events = self.events.clone();
        let events = Events::new(move |event| {
            events.lock().push(match event {
                Event::ImageStarted { image, what } => format!("{what} {image}"),
                Event::ImageOutput { line, .. } => line,
                Event::ImageFinished { .. } => "finished".into(),
                Event::ImageFailed { .. } => "failed".into(),
                other => format!("{other:?}"),
            })
        });
        let cache = ImageCache::open(self.directory.path());
        let image = Image::built("tiny", json!({ "suite": "x" }), Some("quiet")).unwrap();
        match cache.claim(&image, &events, &self.interrupt).unwrap() {
            Claim::Build(workshop) => workshop,
            Claim::Ready(_) => panic!("already built"),
        }
    }

    fn events(&self) -> Vec<String> {
        self.events.lock().clone()
    }
}

fn sh(workshop: &Workshop, script: &str) -> Result<String> {
    workshop.run(&["sh", "-euc", script].map(String::from), None, &BTreeMap::new())
}

#[test]
fn a_finished_build_is_complete_and_leaves_no_workshop() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    sh(
        &workshop,
        "printf 'QFI\\373\\0\\0\\0\\3' > disk.qcow2; echo k > vmlinuz; echo i > initrd; echo other > other; echo done",
    )
    .unwrap();
    let ready = workshop.finish().unwrap();
    assert_eq!(ready.boot.as_ref().unwrap().cmdline, "quiet");
    let directory = ready.disk.parent().unwrap();
    assert!(directory.file_name().unwrap().to_string_lossy().starts_with("tiny-"));
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["disk.qcow2", "image.json", "initrd", "vmlinuz"]);
    assert_eq!(fs::read_dir(bench.directory.path().join("work")).unwrap().count(), 0);
    assert_eq!(bench.events(), ["building tiny", "done", "finished"]);
}

#[test]
fn a_failing_command_shows_how_it_ended_and_what_it_said() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    let error = sh(&workshop, "echo out; echo err >&2; exit 3").unwrap_err().to_string();
    assert!(error.starts_with("`sh -euc echo out; echo err >&2; exit 3` failed with status 3\n  | "), "{error}");
    assert!(error.contains("  | out") && error.contains("  | err"), "{error}");
    drop(workshop);
    assert_eq!(fs::read_dir(bench.directory.path().join("work")).unwrap().count(), 0);
    assert_eq!(bench.events().last().unwrap(), "failed");
}

#[test]
fn a_missing_program_is_named() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    let error = workshop.run(&["no-such-program".into()], None, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().starts_with("`no-such-program` is not installed\nhint: run `make setup`"), "{error}");
    assert!(sh(&workshop, "no-such-program").unwrap_err().hint.unwrap().starts_with("a program is missing"));
}

#[test]
fn input_environment_and_output_pass_through() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    let env = BTreeMap::from([("WORD".to_string(), "hello".to_string())]);
    let argv = ["sh", "-c", "cat; echo $WORD; pwd"].map(String::from);
    let stdout = workshop.run(&argv, Some(b"in\n"), &env).unwrap();
    assert_eq!(stdout, format!("in\nhello\n{}\n", workshop.path().canonicalize().unwrap().display()));
    // More input than a pipe holds, for a command that reads none of it.
    workshop.run(&["true".into()], Some(&vec![0; 1 << 20]), &env).unwrap();
}

#[test]
fn what_a_command_makes_does_not_depend_on_the_umask() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    // The tests that run beside this one set the modes that they look at.
    let before = rustix::process::umask(rustix::fs::Mode::RWXO | rustix::fs::Mode::WGRP);
    let said = sh(&workshop, "umask");
    rustix::process::umask(before);
    assert_eq!(said.unwrap(), "0022\n");
}

#[test]
fn an_interrupt_stops_the_command_and_all_that_it_started() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    let started = Instant::now();
    let interrupt = bench.interrupt.clone();
    let raise = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        interrupt.raise();
    });
    let error = sh(&workshop, "sleep 60 & sleep 60").unwrap_err();
    raise.join().unwrap();
    assert_eq!(error.kind, crate::error::Kind::Interrupted);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_background_process_does_not_hold_a_build_up() {
    let started = Instant::now();
    let bench = Bench::new();
    assert_eq!(sh(&bench.workshop(), "sleep 60 & echo x").unwrap(), "x\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn files_are_written_inside_with_the_mode_asked_for() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    workshop.write("files/etc/rc", b"x", 0o750).unwrap();
    let mode = |name: &str| fs::metadata(workshop.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("files"), mode("files/etc"), mode("files/etc/rc")), (0o755, 0o755, 0o750));
    for name in ["", "/etc/passwd", "../x", "a/../../x"] {
        assert!(workshop.write(name, b"", 0o644).is_err(), "{name:?}");
    }
}

#[test]
fn a_build_without_a_disk_is_refused() {
    let bench = Bench::new();
    let error = bench.workshop().finish().unwrap_err().to_string();
    assert!(error.starts_with("the build of image `tiny` made no `disk.qcow2`"), "{error}");

    let workshop = bench.workshop();
    workshop.write("disk.qcow2", &[0; 512], 0o644).unwrap();
    assert_eq!(
        workshop.finish().unwrap_err().to_string(),
        "the build of image `tiny` left a `disk.qcow2` that is not a qcow2 image\n\
         hint: convert it in the build function: qemu-img convert -O qcow2 disk.raw disk.qcow2"
    );
}

#[test]
fn what_a_killed_build_left_is_cleared_away() {
    let bench = Bench::new();
    let left = bench.workshop();
    let path = left.path().to_path_buf();
    // Stands for a process that was killed: the lock goes, the directory stays.
    let Workshop { directory, _lock, .. } = left;
    let _ = directory.keep();
    drop(_lock);
    let _again = bench.workshop();
    assert!(!path.exists());
}
