//! Forwarded ports, in the program that guests have: its guest is this host.

use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use super::super::{Forwarding, Sessions};
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn sessions(session: Session) -> (Sessions, Arc<Session>) {
    let session = Arc::new(session);
    let its = Arc::clone(&session);
    (Arc::new(move || Some(Arc::clone(&its))), session)
}

/// Serves each connection to a port with `serve`, as long as the test runs.
fn service(address: impl Into<std::net::IpAddr>, serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind((address.into(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(connection.unwrap()));
        }
    });
    port
}

/// Answers what has come when no more comes.
fn answer_at_the_end(mut connection: TcpStream) {
    let mut all = Vec::new();
    connection.read_to_end(&mut all).unwrap();
    all.extend(b" and back");
    connection.write_all(&all).unwrap();
}

fn connect(port: u16) -> TcpStream {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    connection.set_write_timeout(Some(LIMIT)).unwrap();
    connection
}

/// Sends all of it, then no more, and returns what comes back.
fn ask(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut connection = connect(port);
    let mut writer = connection.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        answer
    })
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn a_connection_ends_in_each_direction_by_itself() {
    let (_guest, session) = Guest::session();
    let (sessions, session) = sessions(session);
    let inside = Forwarding::into_guest(0, service(Ipv4Addr::LOCALHOST, answer_at_the_end), sessions.clone()).unwrap();
    assert_eq!(ask(inside.port(), b"there"), b"there and back");
    assert_eq!(ask(inside.port(), b""), b" and back");
    // The peer has said all before it has heard all.
    let speaks_first = |mut connection: TcpStream| {
        connection.write_all(b"hello").unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        connection.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"heard");
    };
    let inside = Forwarding::into_guest(0, service(Ipv4Addr::LOCALHOST, speaks_first), sessions.clone()).unwrap();
    let mut connection = connect(inside.port());
    let mut all = Vec::new();
    connection.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    connection.write_all(b"heard").unwrap();
    drop(connection);
    // A service on `::1` alone is a part of `localhost`.
    let inside = Forwarding::into_guest(0, service(Ipv6Addr::LOCALHOST, answer_at_the_end), sessions.clone()).unwrap();
    assert_eq!(ask(inside.port(), b"there"), b"there and back");

    // The other way.
    let guest = free_port();
    let outside = service(Ipv4Addr::LOCALHOST, answer_at_the_end);
    let back = Forwarding::out_of_guest(outside, guest, sessions).unwrap();
    assert_eq!(ask(guest, b"from the guest"), b"from the guest and back");
    drop(back);
    // The guest lets go of the port before it answers what is asked next.
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])).1, "there\n");
    assert_eq!(TcpStream::connect((Ipv4Addr::LOCALHOST, guest)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn much_goes_both_ways_on_many_connections_at_once() {
    let echo = |connection: TcpStream| {
        let mut writer = connection.try_clone().unwrap();
        io::copy(&mut &connection, &mut writer).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    };
    let (_guest, session) = Guest::session();
    let (sessions, session) = sessions(session);
    let inside = Forwarding::into_guest(0, service(Ipv4Addr::LOCALHOST, echo), sessions.clone()).unwrap();
    let guest = free_port();
    let _back = Forwarding::out_of_guest(service(Ipv4Addr::LOCALHOST, echo), guest, sessions).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    for port in [inside.port(), guest] {
        assert!(ask(port, &bytes) == bytes);
        std::thread::scope(|scope| {
            for number in 0..50 {
                let part = &bytes[number * 1000..number * 1000 + 100_000];
                scope.spawn(move || assert!(ask(port, part) == part));
            }
        });
    }
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])).1, "there\n");
}

#[test]
fn a_peer_that_does_not_read_holds_up_its_own_connection_alone() {
    let deaf = |connection: TcpStream| {
        std::thread::sleep(LIMIT);
        drop(connection);
    };
    let (guest, session) = Guest::session();
    let (sessions, session) = sessions(session);
    let inside = Forwarding::into_guest(0, service(Ipv4Addr::LOCALHOST, deaf), sessions.clone()).unwrap();
    let other = Forwarding::into_guest(0, service(Ipv4Addr::LOCALHOST, answer_at_the_end), sessions).unwrap();
    let mut connection = connect(inside.port());
    connection.set_nonblocking(true).unwrap();
    let (mut sent, mut last) = (0, std::time::Instant::now());
    while last.elapsed() < Duration::from_millis(500) {
        match connection.write(&[b'x'; 65536]) {
            Ok(length) => (sent, last) = (sent + length, std::time::Instant::now()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(sent < 100 << 20, "everything is taken");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/statm", guest.child.id())).unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 4 << 20, "{pages} pages of memory");
    assert_eq!(ask(other.port(), b"there"), b"there and back");
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])).1, "there\n");
}

#[test]
fn a_failure_is_a_reset_at_the_other_end() {
    let (guest, session) = Guest::session();
    let (sessions, session) = sessions(session);
    let is_reset = |port: u16| {
        let error = connect(port).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    };
    // No service is there.
    is_reset(Forwarding::into_guest(0, free_port(), sessions.clone()).unwrap().port());
    let port = free_port();
    let back = Forwarding::out_of_guest(free_port(), port, sessions.clone()).unwrap();
    is_reset(port);
    // The port is taken.
    let taken = Forwarding::out_of_guest(1, port, sessions.clone()).err().unwrap();
    assert_eq!(taken, "Address already in use");
    let taken = Forwarding::into_guest(port, 1, sessions.clone()).err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    drop(back);

    // A peer that resets its connection, and a forwarding that ends, on both sides.
    let (heard, hears) = mpsc::channel();
    let listens = move |mut connection: TcpStream| {
        connection.write_all(b"hello").unwrap();
        let error = connection.read(&mut [0]).unwrap_err();
        heard.send(error.kind()).unwrap();
    };
    let outside = service(Ipv4Addr::LOCALHOST, listens);
    let inside = Forwarding::into_guest(0, outside, sessions.clone()).unwrap();
    let back = Forwarding::out_of_guest(outside, port, sessions.clone()).unwrap();
    let mut met: Vec<TcpStream> = [inside.port(), port, inside.port(), port].into_iter().map(connect).collect();
    for connection in &mut met {
        connection.read_exact(&mut [0; 5]).unwrap();
    }
    for connection in met.drain(2..) {
        rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
        drop(connection);
        assert_eq!(hears.recv_timeout(LIMIT).unwrap(), io::ErrorKind::ConnectionReset);
    }
    drop((inside, back));
    for mut connection in met {
        assert!(!matches!(connection.read(&mut [0]), Ok(1)));
        assert_eq!(hears.recv_timeout(LIMIT).unwrap(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])).1, "there\n");

    // The guest is gone.
    let inside = Forwarding::into_guest(0, outside, sessions).unwrap();
    let mut connection = connect(inside.port());
    connection.read_exact(&mut [0; 5]).unwrap();
    drop(guest);
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    is_reset(inside.port());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, inside.port()));
    drop(inside);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}
