//! [`Metadata`] as an element below a domain's `<metadata>`.

use std::fmt::Write as _;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::error::{Because, Error, Result};
use crate::hypervisor::Metadata;
use crate::libvirt::xml::element::{Element, is_carried};

const NAMESPACE: &str = "https://snaptree.dev/xmlns/1";
const NODE: &str = "snaptree:node";
const OPERATION: &str = "snaptree:operation";
const PAYLOAD: &str = "snaptree:payload";
const ENCODING: &str = "deflate+base64";

/// Builds the element.
pub fn build(metadata: &Metadata) -> Result<Element> {
    let mut node = Element::new(NODE).with("xmlns:snaptree", NAMESPACE);
    for (key, value) in &metadata.attributes {
        if !is_name(key) {
            return Err(Error::bug(format!("`{key}` cannot be the name of an XML attribute")));
        }
        node.set(key, encode(value));
    }
    node.children.extend(metadata.lines.iter().map(|line| Element::new(OPERATION).text(make_visible(line))));
    if !metadata.payload.is_empty() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(&metadata.payload).and_then(|()| encoder.finish());
        let packed = packed.because(|| "cannot compress metadata".to_string())?;
        node.children.push(Element::new(PAYLOAD).with("encoding", ENCODING).text(BASE64.encode(packed)));
    }
    Ok(node)
}

/// Reads the metadata of a `<domain>`; `None` when it has none of ours.
pub fn read(domain: &Element) -> Result<Option<Metadata>> {
    let Some(node) = domain.find("metadata").and_then(|metadata| metadata.find(NODE)) else { return Ok(None) };
    let attributes = node.attributes.iter().filter(|(key, _)| !key.starts_with("xmlns"));
    // One unreadable payload is no reason to hide the whole tree: whatever decodes this one reports the error.
    let unpacked = |payload: &Element| match payload.get("encoding") {
        Some(ENCODING) => unpack(&payload.text).ok(),
        _ => None,
    };
    let payload =
        node.find(PAYLOAD).map(|payload| unpacked(payload).unwrap_or_else(|| payload.text.clone().into_bytes()));
    Ok(Some(Metadata {
        attributes: attributes.map(|(key, value)| (key.clone(), decode(value))).collect(),
        lines: node.all(OPERATION).map(|line| line.text.clone()).collect(),
        payload: payload.unwrap_or_default(),
    }))
}

/// Puts the metadata into a `<domain>`, replacing what it has of ours, and leaves that of others alone.
pub fn put(domain: &mut Element, metadata: &Metadata) -> Result<()> {
    put_node(domain, build(metadata)?);
    Ok(())
}

/// Replaces our metadata in a `<domain>` with that of `other`, which may be none, and leaves that of others alone.
pub fn adopt(domain: &mut Element, other: &Element) {
    if let Some(node) = other.find("metadata").and_then(|metadata| metadata.find(NODE)) {
        put_node(domain, node.clone());
    } else if let Some(all) = domain.find_mut("metadata") {
        all.remove(&[NODE]);
    }
}

fn put_node(domain: &mut Element, node: Element) {
    match domain.find_mut("metadata") {
        Some(all) => {
            all.text.clear();
            all.put(node);
        }
        None => domain.children.push(Element::new("metadata").child(node)),
    }
}

fn unpack(text: &str) -> Result<Vec<u8>> {
    let broken = || "the metadata's payload is broken".to_string();
    let text: String = text.split_ascii_whitespace().collect();
    let packed = BASE64.decode(text).because(broken)?;
    let mut payload = Vec::new();
    DeflateDecoder::new(packed.as_slice()).read_to_end(&mut payload).because(broken)?;
    Ok(payload)
}

fn is_name(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && !key.starts_with("xml")
}

/// Shows control characters, which XML cannot carry, as Unicode's pictures of them.
fn make_visible(line: &str) -> String {
    let picture = |c: char| match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{2426}'),
        '\u{7f}' => '\u{2421}',
        c if is_carried(c) => c,
        _ => '\u{2426}',
    };
    line.chars().map(picture).collect()
}

/// Writes what XML cannot carry as `\{1f}`, so that [`decode`] gives it back.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for character in value.chars() {
        if character == '\\' || character.is_control() || !is_carried(character) {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "\\{{{:x}}}", character as u32);
        } else {
            encoded.push(character);
        }
    }
    encoded
}

fn decode(encoded: &str) -> String {
    let mut value = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((before, after)) = rest.split_once("\\{") {
        let code = after.split_once('}').and_then(|(hex, tail)| {
            let character = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
            Some((character, tail))
        });
        let Some((character, tail)) = code else { break };
        value.push_str(before);
        value.push(character);
        rest = tail;
    }
    value + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn round_trip(metadata: &Metadata) -> Metadata {
        let mut domain = Element::new("domain");
        put(&mut domain, metadata).unwrap();
        read(&Element::parse(&domain.to_string()).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn metadata_comes_back_with_nasty_values() {
        let nasty = "a&b<c>d'e\"f \t\n\r\u{1}\u{7f}\u{ffff} \\{1} \\ 日本語 ";
        let metadata = Metadata {
            attributes: [("key".to_string(), nasty.to_string()), ("empty".to_string(), String::new())].into(),
            lines: vec!["run apt-get install 'a' <b> & \"日本\"".to_string(), "  ".to_string(), String::new()],
            payload: (0..=255).cycle().take(300_000).collect(),
        };
        assert_eq!(round_trip(&metadata), metadata);
        assert_eq!(round_trip(&Metadata::default()), Metadata::default());
    }

    #[test]
    fn a_payload_that_cannot_be_read_is_given_as_it_is() {
        for (encoding, text) in [("deflate+base64", "no base64"), ("deflate+base64", "q64F"), ("zstd", "q64FAA==")] {
            let payload = format!("<snaptree:payload encoding='{encoding}'>{text}</snaptree:payload>");
            let domain =
                format!("<domain><metadata><snaptree:node key='k'>{payload}</snaptree:node></metadata></domain>");
            let metadata = read(&Element::parse(&domain).unwrap()).unwrap().unwrap();
            assert_eq!((metadata.attributes["key"].as_str(), metadata.payload), ("k", text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn control_characters_of_a_line_are_made_visible() {
        let metadata = Metadata { lines: vec!["a\nb\u{1b}[0m\0".to_string()], ..Metadata::default() };
        assert_eq!(round_trip(&metadata).lines, ["a␊b␛[0m␀"]);
    }

    #[test]
    fn the_element_is_readable() {
        let metadata = Metadata {
            attributes: [("key".to_string(), "ab".to_string())].into(),
            lines: vec!["run apt-get update".to_string()],
            payload: b"{}".to_vec(),
        };
        let expected = "\
<snaptree:node xmlns:snaptree='https://snaptree.dev/xmlns/1' key='ab'>
  <snaptree:operation>run apt-get update</snaptree:operation>
  <snaptree:payload encoding='deflate+base64'>q64FAA==</snaptree:payload>
</snaptree:node>
";
        assert_eq!(build(&metadata).unwrap().to_string(), expected);
    }

    #[test]
    fn what_others_keep_in_the_metadata_stays() {
        let mut domain = Element::parse("<domain><metadata><a:b xmlns:a='u'/></metadata></domain>").unwrap();
        put(&mut domain, &Metadata::default()).unwrap();
        put(&mut domain, &Metadata::default()).unwrap();
        let names: Vec<&str> = domain.find("metadata").unwrap().children.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a:b", "snaptree:node"]);
        assert_eq!(read(&Element::new("domain")).unwrap(), None);
    }

    #[test]
    fn an_attribute_that_xml_cannot_name_is_a_bug() {
        let metadata = Metadata { attributes: [("a b".to_string(), String::new())].into(), ..Metadata::default() };
        assert!(build(&metadata).is_err());
    }
}
