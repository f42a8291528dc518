//! The kernel's tables of TCP sockets.

/// Says whether a table (`/proc/net/tcp` or `/proc/net/tcp6`) has a listening socket on `port`.
pub fn listens(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|address| address.rsplit_once(':'));
        let state = fields.nth(1);
        state == Some(LISTEN) && local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 13870 1 0000000000000000 100 0 0 10 0
   1: 0F02000A:8A2E 8C7B7A5B:0050 01 00000000:00000000 02:00000B5C 00000000     0        0 15131 2 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000
";

    #[test]
    fn a_listening_port_is_found_in_either_table() {
        assert!(listens(TCP, 3306));
        assert!(listens(TCP6, 22));
    }

    #[test]
    fn a_connection_and_a_foreign_port_are_not_listeners() {
        assert!(!listens(TCP, 0x8a2e));
        assert!(!listens(TCP, 80));
        assert!(!listens("", 22));
    }
}
