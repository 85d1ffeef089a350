//! The decoders, each with good messages to begin with. A decoder says whether it took the input for a message.

use std::fs;

use pattoo_gateway::lines::{Intake, Lines, Now, Source, readings};
use pattoo_gateway::reading::DeviceIndex;
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
    Target { name: "lines: JSON", good: || texts(JSON), decoder: lines },
    Target { name: "lines: line protocol", good: || texts(LINE_PROTOCOL), decoder: lines },
];

const JSON: &[&str] = &[
    r#"{"point":"level","value":120.5,"unit":"cm","kind":"gauge","tags":{"tank":"2"},"labels":{"by":"x"}}"#,
    r#"{"point":"starts","value":18446744073709551615,"kind":"counter","time_ms":1800000000000}"#,
    r#"{"point":"note","value":"caf\u00e9 \"ok\"","device":"a","time":"2027-01-15T08:00:00.5+01:00","quality":"uncertain","reason":"stale"}"#,
];
const LINE_PROTOCOL: &[&str] = &[
    r"wea\,ther,loc\ ation=us\=mid,device=a temperature=82,humidity=71i,rain=f 1800000000000000000",
    "m,a=1,b=2 f=-1.5e-3,g=18446744073709551615u,h=\"a \\\"b\\\" c\",i=t\nm f=1\n# comment\n",
];

/// As a socket has them: what every name makes a series of, whole messages of several lines.
fn lines() -> Decoder {
    let now = Now { boot_ms: 1_000_000_000, utc_ms: 1_800_000_000_000 };
    let mut intake = Intake::new(Source::default());
    intake.declare(DeviceIndex(0), "a", &readings(), now);
    Box::new(move |bytes| {
        let mut lines = Lines::default();
        let mut cut = lines.push(bytes);
        cut.extend(lines.finish());
        let refused = cut.into_iter().map(|line| intake.take(line, None, now).len()).sum::<usize>();
        !intake.transactions().is_empty() && refused == 0
    })
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

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
