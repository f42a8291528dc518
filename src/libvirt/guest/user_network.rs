//! QEMU's user networking: ports of the host that lead into a guest.

use std::net::{Ipv4Addr, TcpListener};

use virt::domain::Domain as VirtDomain;

use crate::error::{Because, Error, Result};
use crate::hypervisor::Forward;
use crate::libvirt::guest::monitor;

/// Lists the ports that QEMU forwards into the guest.
pub fn forwards(domain: &VirtDomain) -> Result<Vec<Forward>> {
    monitor::human(domain, "info usernet").map(|table| read_forwards(&table))
}

/// Reads the table of connections of QEMU's user networking.
fn read_forwards(table: &str) -> Vec<Forward> {
    let forward = |line: &str| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        ["TCP[HOST_FORWARD]", _, _, host, _, guest, ..] => {
            Some(Forward { host: host.parse().ok()?, guest: guest.parse().ok()? })
        }
        _ => None,
    };
    table.lines().filter_map(forward).collect()
}

/// Forwards a port on 127.0.0.1 to a port of the guest; `None` if the domain has no user networking.
pub fn forward(domain: &VirtDomain, name: &str, forward: Forward) -> Result<Option<u16>> {
    const TRIES: usize = 10;
    let Forward { host, guest } = forward;
    let failed = || match host {
        0 => format!("cannot forward a port to port {guest} of `{name}`"),
        _ => format!("cannot forward 127.0.0.1:{host} to port {guest} of `{name}`"),
    };
    if monitor::human(domain, "info usernet")?.is_empty() {
        return Ok(None);
    }
    let mut refusal = String::new();
    for _ in 0..if host == 0 { TRIES } else { 1 } {
        // The system knows a free port. Another program may take it before QEMU does, so there is more than one
        // attempt.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, host)).and_then(|socket| socket.local_addr());
        let port = free.because(failed)?.port();
        refusal = monitor::human(domain, &format!("hostfwd_add tcp:127.0.0.1:{port}-:{guest}"))
            .map_err(|error| Error::failed(failed()).caused_by(error))?;
        if refusal.is_empty() {
            return Ok(Some(port));
        }
    }
    Err(Error::failed(failed()).cause(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwards_are_found_among_the_connections() {
        let table = "\
Hub -1 (hostnet0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   34       10.0.2.15 44312   151.101.2.132    80     0     0
  TCP[HOST_FORWARD]  27       127.0.0.1 40123       10.0.2.15  3306     0     0
  TCP[HOST_FORWARD]  28       127.0.0.1 40124       10.0.2.15    22     0     0
  UDP[67 sec]        30       10.0.2.15 55678        10.0.2.3    53     0     0
";
        let expected = [Forward { host: 40123, guest: 3306 }, Forward { host: 40124, guest: 22 }];
        assert_eq!(read_forwards(table), expected);
        assert_eq!(read_forwards(""), []);
    }
}
