//! The decoders, each with good messages to begin with. A decoder says whether it took the input for a message.

use std::fs;

use pattoo_tests::root;
use pattoo_wire::{Ack, Hello, Schema, open_data};

/// A decoder under test.
pub(crate) struct Target {
    /// What it decodes.
    pub(crate) name: &'static str,
    /// Messages that it takes.
    pub(crate) good: fn() -> Vec<Vec<u8>>,
    /// A fresh decoder.
    pub(crate) decoder: fn() -> Decoder,
}

/// Decodes one input.
pub(crate) type Decoder = Box<dyn FnMut(&[u8]) -> bool>;

/// Every decoder that sees bytes from the network and is ours, or wrapped by us.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "wire: batch", good: || golden(&["v1-data", "v2-data"]), decoder: batch },
    Target { name: "wire: schema", good: || golden(&["v1-schema"]), decoder: || Box::new(|bytes| Schema::decode(&sealed(bytes)).is_ok()) },
    Target { name: "wire: ack", good: || golden(&["v1-ack", "v2-ack"]), decoder: || Box::new(|bytes| Ack::decode(&sealed(bytes)).is_ok()) },
    Target { name: "wire: hello", good: || golden(&["v1-hello"]), decoder: || Box::new(|bytes| Hello::decode(&sealed(bytes)).is_ok()) },
];

fn batch() -> Decoder {
    let schema = golden(&["v1-schema"]).first().and_then(|message| Schema::decode(message).ok());
    Box::new(move |bytes| {
        let message = sealed(bytes);
        let (Ok((_, body)), Some((id, schema))) = (open_data(&message), &schema) else { return false };
        body.decode(*id, schema).is_ok()
    })
}

/// Messages of the wire's own tests.
fn golden(names: &[&str]) -> Vec<Vec<u8>> {
    let read = |name: &&str| {
        let text = fs::read_to_string(root().join(format!("gateway/wire/tests/golden/{name}.hex"))).unwrap_or_default();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    names.iter().map(read).collect()
}

/// With the checksum that its content has: a wrong one would end it all too soon.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let content = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    [content, &crc32fast::hash(content).to_le_bytes()].concat()
}
