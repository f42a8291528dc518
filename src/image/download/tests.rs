use parking_lot::Mutex;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::*;
use crate::event::Event;
use crate::image::image::{Image, Reading};

/// A server for one file that notes the ranges it was asked for.
struct Server {
    url: String,
    ranges: Arc<Mutex<Vec<Option<usize>>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Manners {
    Ranges,
    NoRanges,
    /// Promises the whole file and sends half of it.
    BreaksOff,
}

impl Server {
    fn start(content: &'static [u8], manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/dir/disk.raw", listener.local_addr().unwrap());
        let ranges: Arc<Mutex<Vec<Option<usize>>>> = Arc::default();
        let noted = ranges.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, content, manners, &noted);
            }
        });
        Self { url, ranges }
    }
}

fn answer(mut stream: TcpStream, content: &[u8], manners: Manners, ranges: &Mutex<Vec<Option<usize>>>) {
    let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(std::result::Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_ascii_lowercase())
        .collect();
    let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    ranges.lock().push(range);
    let (head, body) = match range {
        _ if lines[0].contains("/elsewhere") => {
            ("302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0".to_string(), &[][..])
        }
        _ if lines[0].contains("/teapot") => ("418 I'm a teapot\r\ncontent-length: 0".to_string(), &[][..]),
        _ if !lines[0].contains("/dir/disk.raw") => ("404 Not Found\r\ncontent-length: 0".to_string(), &[][..]),
        Some(start) if manners == Manners::Ranges && start >= content.len() => {
            ("416 Range Not Satisfiable\r\ncontent-length: 0".to_string(), &[][..])
        }
        Some(start) if manners == Manners::Ranges => {
            let (last, all) = (content.len() - 1, content.len());
            let head = format!("content-range: bytes {start}-{last}/{all}\r\ncontent-length: {}", all - start);
            (format!("206 Partial Content\r\n{head}"), &content[start..])
        }
        _ => {
            let sent = if manners == Manners::BreaksOff { content.len() / 2 } else { content.len() };
            (format!("200 OK\r\ncontent-length: {}", content.len()), &content[..sent])
        }
    };
    write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").unwrap();
    stream.write_all(body).unwrap();
}

const CONTENT: &[u8] = b"0123456789abcdef";
const SHA256: &str = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";

struct Fixture {
    _directory: tempfile::TempDir,
    cache: ImageCache,
    events: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(directory.path());
        cache.make_room().unwrap();
        Self { _directory: directory, cache, events: Arc::default() }
    }

    fn part(&self) -> PathBuf {
        self.cache.downloads().join(SHA256).with_extension("part")
    }

    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let events = self.events.clone();
        let events = Events::new(move |event| {
            events.lock().push(match event {
                Event::ImageStarted { image, what } => format!("{what} {image}"),
                Event::ImageProgress { done, total, .. } => format!("{done} of {}", total.unwrap_or(0)),
                Event::ImageFinished { .. } => "finished".into(),
                Event::ImageFailed { .. } => "failed".into(),
                other => format!("{other:?}"),
            })
        });
        let label = label(url)?;
        let file = fetch(&self.cache, &label, url, SHA256, &events, &Interrupt::default())?;
        Ok(fs::read(file).unwrap())
    }

    fn events(&self) -> Vec<String> {
        self.events.lock().clone()
    }
}

#[test]
fn a_download_is_verified_kept_and_not_repeated() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::Ranges));
    assert_eq!(fixture.fetch(&server.url).unwrap(), CONTENT);
    assert_eq!(fixture.fetch(&server.url).unwrap(), CONTENT);
    assert_eq!(*server.ranges.lock(), [None]);
    assert_eq!(fixture.events(), ["downloading disk.raw", "16 of 16", "finished"]);
    let listed = fixture.cache.list().unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "disk.raw"));
    fixture.cache.remove(&fixture.cache.find("disk.raw").unwrap()).unwrap();
    assert!(fixture.cache.list().unwrap().is_empty());
}

#[test]
fn a_part_is_continued() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::Ranges));
    fs::write(fixture.part(), &CONTENT[..10]).unwrap();
    assert_eq!(fixture.fetch(&server.url).unwrap(), CONTENT);
    assert_eq!(*server.ranges.lock(), [Some(10)]);
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::NoRanges));
    fs::write(fixture.part(), &CONTENT[..10]).unwrap();
    assert_eq!(fixture.fetch(&server.url).unwrap(), CONTENT);
    assert_eq!(fixture.events(), ["downloading disk.raw", "16 of 16", "finished"]);
}

#[test]
fn a_part_that_is_longer_than_the_file_is_dropped() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::Ranges));
    fs::write(fixture.part(), [0; 40]).unwrap();
    assert_eq!(fixture.fetch(&server.url).unwrap(), CONTENT);
    assert_eq!(*server.ranges.lock(), [Some(40), None]);
}

#[test]
fn a_complete_part_needs_no_server() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), CONTENT).unwrap();
    assert_eq!(fixture.fetch("http://127.0.0.1:9/disk.raw").unwrap(), CONTENT);
}

#[test]
fn a_wrong_checksum_names_both_and_leaves_nothing() {
    let (fixture, server) = (Fixture::new(), Server::start(b"something else", Manners::Ranges));
    let error = fixture.fetch(&server.url).unwrap_err().to_string();
    assert!(error.contains(&format!("has the wrong checksum: expected sha256 {SHA256}, found ")), "{error}");
    assert_eq!(fs::read_dir(fixture.cache.downloads()).unwrap().count(), 0);
    assert_eq!(fixture.events().last().unwrap(), "failed");
}

#[test]
fn a_broken_connection_keeps_what_came() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::BreaksOff));
    let error = fixture.fetch(&server.url).unwrap_err().to_string();
    assert!(error.contains("broke off") && error.contains("it continues where it stopped"), "{error}");
    assert_eq!(fs::read(fixture.part()).unwrap(), &CONTENT[..8]);
    assert_eq!(fixture.cache.list().unwrap()[0].name, "disk.raw");
}

#[test]
fn a_missing_file_says_so() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::Ranges));
    let url = server.url.replace("/dir/", "/other/");
    assert_eq!(
        fixture.fetch(&url).unwrap_err().to_string(),
        format!(
            "cannot download `{url}`: the server answered 404 Not Found\n\
             hint: the address is wrong, or the file has been moved"
        )
    );
}

#[test]
fn each_answer_of_a_server_has_its_hint() {
    let (fixture, server) = (Fixture::new(), Server::start(CONTENT, Manners::Ranges));
    let refused = |file: &str, why: &str, hint: &str| {
        let url = server.url.replace("/dir/disk.raw", file);
        let error = fixture.fetch(&url).unwrap_err().to_string();
        assert_eq!(error, format!("cannot download `{url}`: {why}\nhint: {hint}"));
    };
    refused(
        "/elsewhere",
        "too many redirects",
        "the server leads in a circle, or to an address that is neither http nor https: see `curl -vL`",
    );
    refused(
        "/teapot",
        "the server answered 418 I'm a teapot",
        "ask the server for the file with `curl -L`, and use that with `image.file`",
    );
}

#[test]
fn a_download_that_brings_nothing_leaves_nothing() {
    let server = Server::start(CONTENT, Manners::Ranges);
    let nothing = Server::start(&CONTENT[..1], Manners::BreaksOff);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [server.url.replace("/dir/", "/other/"), nothing.url, format!("http://{unused}/disk.raw")] {
        let fixture = Fixture::new();
        fixture.fetch(&url).unwrap_err();
        assert_eq!(fs::read_dir(fixture.cache.downloads()).unwrap().count(), 0, "{url}");
        // What an earlier download brought stays, and so does its name.
        let noted = fixture.part().with_extension("json");
        fs::write(fixture.part(), &CONTENT[..8]).unwrap();
        fs::write(&noted, "{}").unwrap();
        fixture.fetch(&url).unwrap_err();
        let kept = (fs::read(fixture.part()).ok(), fs::read(&noted).ok());
        if url.contains("/dir/") {
            assert_eq!(kept, (None, None), "{url}: the server sent it again, and then nothing");
        } else {
            assert_eq!(kept, (Some(CONTENT[..8].to_vec()), Some(b"{}".to_vec())), "{url}");
        }
    }
}

#[test]
fn a_refused_connection_says_so() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}/disk.raw");
    let error = Fixture::new().fetch(&url).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot download `{url}`: ")) && error.contains("refused"), "{error}");
    assert!(error.contains("\nhint: "), "{error}");
}

#[test]
fn an_interrupt_ends_a_download_from_a_silent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/disk.raw", listener.local_addr().unwrap());
    let (fixture, interrupt) = (Fixture::new(), Interrupt::default());
    let image = Image::url(&url, SHA256, Reading::default()).unwrap();
    let raised = interrupt.clone();
    let raise = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        raised.raise();
    });
    assert!(image.ready(&fixture.cache, &Events::none(), &interrupt).is_err());
    raise.join().unwrap();
}
