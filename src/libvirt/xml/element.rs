//! XML as a tree of plain elements, enough for libvirt's documents: no mixed content, names with their prefixes.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use crate::hypervisor::Document;

/// An element. It has children or text, not both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// With its prefix, such as `qemu:commandline`.
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_string(), ..Self::default() }
    }

    /// Sets an attribute, in place when there is one of that name.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key.to_string(), value)),
        }
    }

    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    pub fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    pub fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns the first child of that name.
    pub fn find(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Element> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// Returns every child of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Returns the text of the first child of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.find(name).map(|child| child.text.as_str())
    }

    /// Removes every child of these names.
    pub fn remove(&mut self, names: &[&str]) {
        self.children.retain(|child| !names.contains(&child.name.as_str()));
    }

    /// Puts `child` in the place of the first of its name, or at the end.
    pub fn put(&mut self, child: Element) {
        match self.find_mut(&child.name) {
            Some(old) => *old = child,
            None => self.children.push(child),
        }
    }

    /// Says whether another element has the same content, in any order.
    pub fn is_like(&self, other: &Self) -> bool {
        let mut attributes = [&self.attributes, &other.attributes].map(|attributes| attributes.clone());
        attributes.iter_mut().for_each(|attributes| attributes.sort());
        let has_like = |of: &Self, child: &Self| of.children.iter().any(|other| child.is_like(other));
        (&self.name, self.text.trim()) == (&other.name, other.text.trim())
            && attributes[0] == attributes[1]
            && self.children.len() == other.children.len()
            && self.children.iter().all(|child| has_like(other, child))
            && other.children.iter().all(|child| has_like(self, child))
    }

    /// Reads a document.
    pub fn parse(document: &str) -> Result<Self, String> {
        let mut elements = Self::parse_all(document)?;
        match elements.len() {
            1 => Ok(elements.remove(0)),
            _ => Err("the document has no single outermost element".to_string()),
        }
    }

    /// Reads any number of sibling elements.
    pub fn parse_all(fragment: &str) -> Result<Vec<Self>, String> {
        let mut reader = Reader::from_str(fragment);
        let mut open = vec![Element::default()];
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            let Some(current) = open.last_mut() else { return Err("an element ends twice".to_string()) };
            match event {
                Event::Start(start) => open.push(element(&start)?),
                Event::Empty(start) => current.children.push(element(&start)?),
                Event::End(_) => {
                    let mut done = open.pop().unwrap_or_default();
                    if !done.children.is_empty() {
                        done.text.clear();
                    }
                    let Some(parent) = open.last_mut() else { return Err("an element ends twice".to_string()) };
                    parent.children.push(done);
                }
                Event::Text(text) => current.text.push_str(&text.xml10_content()),
                Event::CData(text) => current.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(character) => current.text.push(character),
                    None => {
                        let name = reference.xml10_content();
                        let resolved = quick_xml::escape::resolve_predefined_entity(&name);
                        current.text.push_str(resolved.ok_or_else(|| format!("the entity `{name}` is unknown"))?);
                    }
                },
                Event::DocType(_) => return Err("a document type is not allowed".to_string()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        match open.pop() {
            Some(root) if open.is_empty() && root.text.trim().is_empty() => Ok(root.children),
            Some(root) if open.is_empty() => Err(format!("there is text outside of elements: {}", root.text.trim())),
            unclosed => Err(format!("`<{}>` is never closed", unclosed.unwrap_or_default().name)),
        }
    }

    fn write(&self, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        out.push_str(&indent);
        out.push('<');
        out.push_str(&self.name);
        for (key, value) in &self.attributes {
            out.push(' ');
            out.push_str(key);
            out.push_str("='");
            escape(value, true, out);
            out.push('\'');
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push('>');
        if self.children.is_empty() {
            escape(&self.text, false, out);
        } else {
            out.push('\n');
            for child in &self.children {
                child.write(depth + 1, out);
            }
            out.push_str(&indent);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push_str(">\n");
    }
}

/// Writes the document, indented as libvirt does it.
impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(0, &mut out);
        f.write_str(&out)
    }
}

/// Takes a document as libvirt writes it: with literal carriage returns, which XML parsers read as line feeds.
pub fn from_libvirt(text: &str) -> Document {
    Document(text.replace('\r', "&#13;"))
}

fn element(start: &BytesStart) -> Result<Element, String> {
    let mut element = Element::new(start.name().as_ref());
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        // libvirt writes tabs and line feeds literally.
        let value = unescape(&attribute.value).map_err(|error| error.to_string())?;
        element.set(attribute.key.as_ref(), value);
    }
    Ok(element)
}

fn escape(text: &str, in_attribute: bool, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' if in_attribute => out.push_str("&apos;"),
            // A parser turns literal ones into spaces or line feeds.
            '\r' => out.push_str("&#13;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            character if is_carried(character) => out.push(character),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Says whether XML 1.0 has any way to represent a character.
pub fn is_carried(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_with_every_special_character_come_back() {
        let nasty = "a&b<c>d'e\"f g\t\n\r日本語 ]]> &amp; ";
        let element = Element::new("snaptree:node")
            .with("xmlns:snaptree", "https://snaptree.dev/xmlns/1")
            .with("key", nasty)
            .child(Element::new("line").text(nasty))
            .child(Element::new("empty"))
            .child(Element::new("blank").text("  "));
        assert_eq!(Element::parse(&element.to_string()).unwrap(), element);
    }

    #[test]
    fn what_libvirt_writes_as_it_is_comes_back() {
        let snapshot = "<domainsnapshot><name>a\rb\tc\nd</name><disk name='v\td\ra'/></domainsnapshot>";
        let element = Element::parse(&from_libvirt(snapshot).0).unwrap();
        assert_eq!(element.text_of("name"), Some("a\rb\tc\nd"));
        assert_eq!(element.find("disk").unwrap().get("name"), Some("v\td\ra"));
        assert_eq!(Element::parse("<name>a\r\nb</name>").unwrap().text, "a\nb");
    }

    #[test]
    fn prefixes_comments_and_references_are_understood() {
        let xml = "<?xml version='1.0'?>\n<d xmlns:qemu='u'><!-- c -->\n <qemu:arg value='&quot;&#x41;'/><t>1 &lt; 2<![CDATA[ & 3]]></t></d>";
        let element = Element::parse(xml).unwrap();
        assert_eq!(element.find("qemu:arg").unwrap().get("value"), Some("\"A"));
        assert_eq!(element.text_of("t"), Some("1 < 2 & 3"));
    }

    #[test]
    fn broken_documents_are_refused() {
        for xml in ["", "<a>", "<a></b>", "<a/><b/>", "text", "<a>&nope;</a>", "<!DOCTYPE a><a/>", "<a b=c/>"] {
            assert!(Element::parse(xml).is_err(), "{xml}");
        }
    }
}
