//! The rules for a clone's arguments for QEMU (`<qemu:commandline>`), which libvirt passes on as they are.

use serde_json::Value;

use crate::libvirt::clone::rule::Treatment::{Kept, LeftOut, Refused, Replaced};
use crate::libvirt::clone::rule::{Place, Rule, Verdict, is_serial, keep};
use crate::libvirt::xml::element::Element;

const PLACE: Place = Place::Top("qemu:commandline");
/// Options that open something on the host and change nothing for the guest.
const OF_THE_HOST: [&str; 14] = [
    "monitor",
    "qmp",
    "qmp-pretty",
    "mon",
    "pidfile",
    "D",
    "trace",
    "gdb",
    "qtest",
    "qtest-log",
    "vnc",
    "spice",
    "incoming",
    "uuid",
];

pub const RULES: &[Rule] = &[
    Rule {
        what: "`<qemu:arg>`: `-monitor`, `-qmp`, `-mon`, `-pidfile`, `-D`, `-trace`, `-gdb`, `-s`, `-qtest`, `-vnc`, \
               `-spice`, `-display` but `none` and `egl-headless`, `-incoming`, `-daemonize`, `-uuid`, `-object input-linux`, `-object filter-dump`",
        treatment: LeftOut,
        place: PLACE,
        apply: |line, _| {
            each(line, |option, value| match option {
                "s" | "daemonize" => Change::DropFlag,
                "object"
                    if matches!(Settings::read(value, "qom-type").get("qom-type"), "input-linux" | "filter-dump") =>
                {
                    Change::Drop
                }
                "display" if !value.starts_with("none") && !value.starts_with("egl-headless") => Change::Drop,
                option if OF_THE_HOST.contains(&option) => Change::Drop,
                _ => Change::None,
            })
        },
    },
    Rule {
        what: "`<qemu:arg>`: `-netdev user`, `-nic user`, `-net user`: `hostfwd`, `guestfwd`",
        treatment: LeftOut,
        place: PLACE,
        apply: |line, _| {
            each(line, |option, value| match option {
                "netdev" | "nic" | "net" => {
                    let mut settings = Settings::read(value, "type");
                    settings.drop(&["hostfwd", "guestfwd"]).map_or(Change::None, Change::Value)
                }
                _ => Change::None,
            })
        },
    },
    Rule {
        what: "`<qemu:arg>`: `-icount`: `rr`, `rrfile`, `rrsnapshot`",
        treatment: LeftOut,
        place: PLACE,
        apply: |line, _| {
            each(line, |option, value| match option {
                "icount" => {
                    let mut settings = Settings::read(value, "shift");
                    settings.drop(&["rr", "rrfile", "rrsnapshot"]).map_or(Change::None, Change::Value)
                }
                _ => Change::None,
            })
        },
    },
    Rule {
        what: "`<qemu:arg>`: `-serial`, `-parallel`, `-debugcon`, `-chardev`, `-audiodev`, `-audio` to anything of the host",
        treatment: Replaced,
        place: PLACE,
        apply: |line, _| each(line, disconnect),
    },
    Rule {
        what: "`<qemu:arg>`: `-smbios`: `uuid`, `serial`",
        treatment: Replaced,
        place: PLACE,
        apply: |line, identity| {
            each(line, |option, value| {
                if option != "smbios" {
                    return Change::None;
                }
                let mut settings = Settings::read(value, "type");
                let mut is_changed = false;
                for (key, value) in &mut settings.pairs {
                    if key == "uuid" || key == "serial" && is_serial(value) {
                        *value = identity.uuid.to_string();
                        is_changed = true;
                    }
                }
                if is_changed { Change::Value(settings.print()) } else { Change::None }
            })
        },
    },
    Rule {
        what: "`<qemu:arg>`: devices of the host, other network back ends, disks that are not read-only, shared memory, \
               `-readconfig`",
        treatment: Refused,
        place: PLACE,
        apply: |line, _| {
            each(line, |option, value| {
                let is_refused = match option {
                    "netdev" | "nic" | "net" => is_exclusive_network(value),
                    "drive" => is_written_drive(value),
                    "blockdev" => is_written_node(value),
                    "device" => is_host_device(value),
                    "object" => is_shared_object(value),
                    "set" => value.split_once('=').is_some_and(|(key, _)| is_place(key) || key.ends_with(".file")),
                    "fsdev" | "virtfs" => Settings::read(value, "driver").get("driver") != "local",
                    "hda" | "hdb" | "hdc" | "hdd" | "fda" | "fdb" | "pflash" | "sd" | "mtdblock" | "tpmdev"
                    | "readconfig" => true,
                    _ => false,
                };
                if is_refused { Change::Refuse } else { Change::None }
            })
        },
    },
    Rule { what: "`<qemu:arg>`: all others", treatment: Kept, place: PLACE, apply: keep },
];

/// What to do with an option.
enum Change {
    None,
    Value(String),
    Drop,
    /// The same for an option without a value.
    DropFlag,
    Refuse,
}

/// Walks the options with their values.
fn each(line: &mut Element, change: impl Fn(&str, &str) -> Change) -> Verdict {
    let is_argument = |child: &Element| child.name == "qemu:arg";
    let (mut index, mut refusal) = (0, None);
    while let Some(argument) = line.children.get(index) {
        let text = argument.get("value").unwrap_or_default().to_string();
        let Some(option) = text.strip_prefix('-').filter(|_| is_argument(argument)) else {
            index += 1;
            continue;
        };
        let next = line.children.get(index + 1).filter(|next| is_argument(next));
        let value = next.and_then(|next| next.get("value")).unwrap_or_default().to_string();
        match change(option.trim_start_matches('-'), &value) {
            Change::None => index += 1,
            Change::DropFlag => drop(line.children.remove(index)),
            Change::Drop => drop(line.children.drain(index..(index + 2).min(line.children.len()))),
            Change::Value(new) => {
                if let Some(next) = line.children.get_mut(index + 1) {
                    next.set("value", new);
                }
                index += 2;
            }
            Change::Refuse => {
                refusal.get_or_insert(format!("it passes to QEMU `{text} {value}`"));
                index += 1;
            }
        }
    }
    refusal.map_or(Verdict::Stays, Verdict::Refused)
}

/// What follows an option: `word,key=value,...`, or JSON.
struct Settings {
    pairs: Vec<(String, String)>,
    json: Option<Value>,
    /// Whether the key of the first word is left out.
    is_implied: bool,
}

impl Settings {
    /// Reads it; if the first word has no key, its key is `implied`.
    fn read(text: &str, implied: &'static str) -> Self {
        if let Some(json) = text.starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten() {
            let mut pairs = Vec::new();
            flatten("", &json, &mut pairs);
            return Self { pairs, json: Some(json), is_implied: false };
        }
        let mut words = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match (character, words.last_mut()) {
                // A comma inside a value is doubled.
                (',', Some(word)) if characters.peek() == Some(&',') => {
                    characters.next();
                    word.push(',');
                }
                (',', _) => words.push(String::new()),
                (_, Some(word)) => word.push(character),
                (_, None) => {}
            }
        }
        let pair = |(number, word): (usize, &String)| match word.split_once('=') {
            Some((key, value)) => (key.to_string(), value.to_string()),
            None if number == 0 => (implied.to_string(), word.clone()),
            None => (word.clone(), "on".to_string()),
        };
        let is_implied = words.first().is_some_and(|word| !word.contains('='));
        Self { pairs: words.iter().enumerate().map(pair).collect(), json: None, is_implied }
    }

    fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn is_on(&self, key: &str) -> bool {
        matches!(self.get(key), "on" | "true" | "yes")
    }

    /// Takes settings out; returns what is left, if any were there.
    fn drop(&mut self, keys: &[&str]) -> Option<String> {
        let is_one = |name: &str| keys.contains(&name.split('.').next().unwrap_or(name));
        if !self.pairs.iter().any(|(name, _)| is_one(name)) {
            return None;
        }
        self.pairs.retain(|(name, _)| !is_one(name));
        if let Some(Value::Object(object)) = &mut self.json {
            keys.iter().for_each(|key| drop(object.remove(*key)));
        }
        Some(self.print())
    }

    fn print(&self) -> String {
        if let Some(json) = &self.json {
            return json.to_string();
        }
        let word = |(number, (key, value)): (usize, &(String, String))| {
            let value = value.replace(',', ",,");
            if number == 0 && self.is_implied { value } else { format!("{key}={value}") }
        };
        self.pairs.iter().enumerate().map(word).collect::<Vec<_>>().join(",")
    }
}

/// Names nested values by both names, as `-blockdev file.filename=x` does.
fn flatten(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    let name = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| flatten(&name(key), value, pairs)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| flatten(&name(&n.to_string()), item, pairs))
        }
        Value::String(text) => pairs.push((prefix.to_string(), text.clone())),
        other => pairs.push((prefix.to_string(), other.to_string())),
    }
}

/// Gives a character device no other end on the host.
fn disconnect(option: &str, value: &str) -> Change {
    match option {
        "serial" | "parallel" | "debugcon" => {
            let kind = value.split([':', ',']).next().unwrap_or_default();
            let is_harmless = matches!(kind, "none" | "null" | "vc" | "pty" | "stdio" | "mon" | "chardev" | "msmouse");
            if is_harmless { Change::None } else { Change::Value("null".to_string()) }
        }
        "chardev" => {
            let mut settings = Settings::read(value, "backend");
            if matches!(
                settings.get("backend"),
                "socket" | "udp" | "file" | "pipe" | "serial" | "tty" | "parallel" | "parport"
            ) {
                return Change::Value(format!("null,id={}", settings.get("id").replace(',', ",,")));
            }
            settings.drop(&["logfile", "logappend"]).map_or(Change::None, Change::Value)
        }
        "audiodev" => {
            let settings = Settings::read(value, "driver");
            match settings.get("driver") {
                "none" | "spice" | "dbus" => Change::None,
                _ => Change::Value(format!("none,id={}", settings.get("id").replace(',', ",,"))),
            }
        }
        "audio" => {
            let mut settings = Settings::read(value, "driver");
            settings.pairs.retain(|(key, _)| matches!(key.as_str(), "driver" | "model" | "id"));
            settings.pairs.iter_mut().filter(|(key, _)| key == "driver").for_each(|pair| pair.1 = "none".to_string());
            Change::Value(settings.print())
        }
        _ => Change::None,
    }
}

fn is_exclusive_network(value: &str) -> bool {
    !matches!(Settings::read(value, "type").get("type"), "user" | "nic" | "none" | "hubport")
}

fn is_written_drive(value: &str) -> bool {
    let settings = Settings::read(value, "file");
    let is_kept = ["readonly", "read-only", "snapshot"].iter().any(|key| settings.is_on(key));
    let has_file = settings.pairs.iter().any(|(key, value)| (key == "file" || is_place(key)) && !value.is_empty());
    has_file && !is_kept && settings.get("media") != "cdrom"
}

/// Says whether a setting points to something on the host or beyond.
fn is_place(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    matches!(last, "filename" | "path" | "host" | "device" | "volume" | "pool")
}

/// A node that refers to another node by name writes where that one does.
fn is_written_node(value: &str) -> bool {
    let settings = Settings::read(value, "driver");
    !settings.is_on("read-only") && settings.pairs.iter().any(|(key, _)| is_place(key))
}

fn is_host_device(value: &str) -> bool {
    const OF_THE_HOST: [&str; 9] = [
        "vfio-",
        "vhost-",
        "usb-host",
        "scsi-generic",
        "scsi-block",
        "virtio-input-host",
        "ivshmem-doorbell",
        "u2f-passthru",
        "igd-passthrough",
    ];
    let settings = Settings::read(value, "driver");
    OF_THE_HOST.iter().any(|prefix| settings.get("driver").starts_with(prefix))
}

fn is_shared_object(value: &str) -> bool {
    let settings = Settings::read(value, "qom-type");
    match settings.get("qom-type") {
        "memory-backend-file" | "memory-backend-shm" => settings.is_on("share") && !settings.is_on("readonly"),
        kind => matches!(kind, "cryptodev-vhost-user" | "vfio-user-server" | "x-remote-object"),
    }
}

#[cfg(test)]
mod tests;
