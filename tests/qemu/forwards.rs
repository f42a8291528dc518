//! Ports that are forwarded through the channel of a real guest, which has no network.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::lab::Lab;

const LIMIT: Duration = Duration::from_secs(120);

/// A machine without a network card, and a live snapshot with services on the guest's loopback: 7 answers what it was
/// sent when no more comes, 80 is a web server.
const SERVICES: &str = r##"
    local web = machine(MACHINE, { image = tiny {}, memory = "256MiB", network = "none" }):root("base"):branch("web",
      function(guest)
        guest:run "mkdir -p /srv/www; echo 'from the guest' >/srv/www/index.html; httpd -p 127.0.0.1:80 -h /srv/www"
        guest:write("/root/whole", "#!/bin/sh\ncat >/run/whole.$$\ncat /run/whole.$$\nrm /run/whole.$$\n", { mode = "755" })
        guest:run "nc -ll -p 7 -e /root/whole </dev/null >/dev/null 2>&1 &"
        guest:wait_for_port(7)
        guest:wait_for_port(80)
      end)
"##;

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn free_port() -> u16 {
    listener().1
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

/// Sends back what comes on one connection, once all of it has come: the guest's `nc` does not read while it writes.
fn answer_once(listener: &TcpListener) {
    let (mut connection, _) = listener.accept().unwrap();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        connection.read_to_end(&mut all).unwrap();
        connection.write_all(&all).unwrap();
    });
}

/// Uses what is forwarded into the guest in each way that a connection has.
fn reach_services(whole: u16, web: u16, nothing: u16) {
    assert_eq!(ask(whole, b"half-closed"), b"half-closed");
    let much: Vec<u8> = (0..20 << 20_u32).map(|n: u32| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    assert!(ask(whole, &much) == much);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                // The service lets few wait; a kernel may refuse one of those that ends before it was accepted.
                let (mut connection, mut page) = (connect(web), Vec::new());
                connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                connection.read_to_end(&mut page).unwrap();
                assert!(page.ends_with(b"from the guest\n"), "{}", String::from_utf8_lossy(&page));
            });
        }
    });
    let refused = connect(nothing).read(&mut [0]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionReset);
}

#[test]
#[ignore = "needs QEMU"]
fn ports_lead_in_and_out_of_a_guest_without_a_network() {
    let lab = Lab::new("ports");
    let [whole, web, nothing] = [free_port(), free_port(), free_port()];
    let ((met, meeting), (answering, answer_port)) = (listener(), listener());
    let script = format!(
        r#"{SERVICES}
        local fork = web:fork()
        print(fork:forward(7, {{ host = {whole} }}) == {whole}, fork:forward(80, {{ host = {web} }}) == {web})
        fork:forward(9, {{ host = {nothing} }})
        print(pcall(fork.forward, fork, 80, {{ through = "network" }}))
        print(pcall(fork.forward, fork, 80, {{ host = {web} }}))
        print(fork:forward_back({meeting}, 5000), fork:forward_back({answer_port}, 5001))
        print(pcall(fork.forward_back, fork, 1, 5000))
        print(fork:run("nc 127.0.0.1 5000 </dev/null").stdout)
        -- A snapshot of it has none of its ports, and takes none from it.
        local kept <close> = fork:snapshot("kept"):fork()
        print(kept:run("nc 127.0.0.1 5000 </dev/null", {{ check = false }}).status)
        fork:run "head -c 20971520 /dev/urandom >/run/much"
        print(fork:run("nc 127.0.0.1 5001 </run/much | cmp - /run/much && echo the same").stdout)
        -- A restart closes what was open in the guest; then it is open again.
        fork:reboot()
        fork:wait_for_port(5000)
        print(fork:run("nc 127.0.0.1 5000 </dev/null").stdout)
        fork:close()
        print "closed"
        "#
    );
    let running = lab.script(&script).any_stdout().any_stderr().start();
    met.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let meet = || loop {
        match met.accept() {
            Ok((connection, _)) => break connection,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(300), "the guest does not connect"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut first = meet();

    reach_services(whole, web, nothing);
    first.write_all(b"from the host").unwrap();
    drop(first);
    answer_once(&answering);
    let mut again = meet();
    again.write_all(b"again").unwrap();
    drop(again);

    let ran = running.finish();
    let expected = format!(
        "true\ttrue\nfalse\tscript.lua:14: cannot forward a port to port 80 of `FORK`: the machine has no user \
         networking\nhint: give the machine `network = \"user\"`, or leave `through` out\nfalse\tscript.lua:15: cannot \
         forward 127.0.0.1:{web} to port 80 of the guest: Address already in use\n5000\t5001\n\
         false\tscript.lua:17: cannot forward 127.0.0.1:5000 of the guest to port 1 of the host: Address already in use\n\
         from the host\n1\nthe same\n\nagain\nclosed\n"
    );
    let fork = ran.stdout.split('`').nth(1).unwrap().to_string();
    assert_eq!(ran.stdout.replace(&fork, "FORK"), expected, "{}", ran.stderr);
    for port in [whole, web, nothing] {
        let gone = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
    }
    lab.assert_no_clone_is_left();
}
