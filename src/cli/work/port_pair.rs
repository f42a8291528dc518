//! How the command line writes forwarded ports.

use crate::hypervisor::Forward;

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn pair(text: &str) -> Option<Forward> {
    let (host, guest) = text.split_once(':')?;
    Some(Forward { host: port(host)?, guest: port(guest)? })
}

/// Reads the port in the guest, behind that of the host if it is chosen: `80` or `8080:80`.
pub fn forward(text: &str) -> Result<Forward, String> {
    let free = || port(text).map(|guest| Forward { host: 0, guest });
    // How one process tells another to choose.
    let chosen = || text.strip_prefix("0:").and_then(port).map(|guest| Forward { host: 0, guest });
    pair(text).or_else(free).or_else(chosen).ok_or_else(wrong)
}

/// Reads the port on the host, before that of the guest if it is another one: `8080` or `8080:80`.
pub fn back(text: &str) -> Result<Forward, String> {
    let same = || port(text).map(|port| Forward { host: port, guest: port });
    pair(text).or_else(same).ok_or_else(wrong)
}

fn wrong() -> String {
    "it is a port from 1 to 65535, or two as in 8080:80".to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_or_two_are_read() {
        assert_eq!(forward("80"), Ok(Forward { host: 0, guest: 80 }));
        assert_eq!(forward("0:80"), Ok(Forward { host: 0, guest: 80 }));
        assert_eq!(forward("8080:80"), Ok(Forward { host: 8080, guest: 80 }));
        assert_eq!(back("80"), Ok(Forward { host: 80, guest: 80 }));
        assert_eq!(back("8080:80"), Ok(Forward { host: 8080, guest: 80 }));
        for text in ["", "0", ":80", "80:", "80:0", "x", "1:2:3", "65536", "-1"] {
            assert!(forward(text).is_err() && back(text).is_err(), "{text}");
        }
        assert!(back("0:80").is_err());
    }
}
