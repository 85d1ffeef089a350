//! The decoders, each with good messages to begin with. A decoder says whether it took the input for a message.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use pattoo_gateway::config::Traps;
use pattoo_gateway::config::snmp::{AuthProtocol, Cipher, KeyExtension, Secret, User};
use pattoo_gateway::driver::bacnet::guard::takes;
use pattoo_gateway::driver::snmp::wire::objects_in;
use pattoo_gateway::driver::trap::by_hand;
use pattoo_gateway::lines::{Intake, Lines, Now, Source, readings};
use pattoo_gateway::reading::DeviceIndex;
use pattoo_tests::agent::{Objects, answer, number, text};
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
    Target { name: "SNMP 2c: answers", good: snmp_messages, decoder: || Box::new(|bytes| objects_in(bytes, None).is_some()) },
    Target {
        name: "SNMP 3: answers",
        good: || hex(&[TRAP_3_OPEN, TRAP_3]),
        decoder: || Box::new(|bytes| objects_in(bytes, Some(OPEN)).is_some()),
    },
    Target { name: "SNMP: traps and informs", good: || hex(&[TRAP_1, TRAP_2C, INFORM, TRAP_3_OPEN, TRAP_3]), decoder: traps },
    Target { name: "BACnet/IP: datagrams", good: bacnet_messages, decoder: || Box::new(takes) },
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

// What snmptrap, snmpinform and snmpbulkget of net-snmp 5.9.3 send.
const TRAP_1: &str = "30818102010004067075626c6963a47406072b06010401bf0840040a00000902010202010043014d305a300f060a2b06010201020201010302010330\
    12060a2b060102010202010203040465746833301006072b060104010901410500ee6b2800300f06072b06010401090240040a000001301006072b0601040109030605\
    2b06010401";
const TRAP_2C: &str = "30819f02010104067075626c6963a7819102044871269d020100020100308182300d06082b0601020101030043012a3017060a2b06010603010104\
    010006092b0601060301010503300f060a2b0601020102020101030201033012060a2b060102010202010203040465746833301006072b060104010901410500ee6b28\
    00300f06072b06010401090240040a000001301006072b06010401090306052b06010401";
const INFORM: &str = "30819f02010104067075626c6963a681910204357ee570020100020100308182300d06082b0601020101030043012a3017060a2b06010603010104\
    010006092b0601060301010504300f060a2b0601020102020101030201033012060a2b060102010202010203040465746833301006072b060104010901410500ee6b28\
    00300f06072b06010401090240040a000001301006072b06010401090306052b06010401";
const TRAP_3_OPEN: &str = "3081e2020103301102042e307bcb020300ffe3040100020103041e301c04088000000001020304020101020309ac4904046f70656e04000400\
    3081a9041180001f888045fc024213040d6b000000000400a7819102045c9bb4b1020100020100308182300d06082b0601020101030043012a3017060a2b0601060301\
    0104010006092b0601060301010503300f060a2b0601020102020101030201033012060a2b060102010202010203040465746833301006072b060104010901410500ee\
    6b2800300f06072b06010401090240040a000001301006072b06010401090306052b06010401";
/// Who sends it: user, engine, boots, time.
const OPEN: (&str, &[u8], i64, i64) = ("open", &[0x80, 0, 0, 0, 1, 2, 3, 4], 3, 633_929);
const TRAP_3: &str = "3081ab020103301102045ae3c8c7020300ffe30401030201030431302f04088000000001020305020101020309ac4e04036d6f6e040c8664e02a4f\
    69f34642932a740408d4213cb7fc2408e20460bd552d26fe646712718a607afa064e7e19f6f7507157bab412997f13672233a35c8a155e2b3f877b537c08fe5018822410\
    d297239346e825a201ab840300d9a9e3c371f04a85386066dcc335f371e452a052dc24d3a1dfa3182c9b7baab6f76b";
const GET_BULK: &str = "302502010104067075626c6963a51802047955d7f5020100020109300a300806042b0601020500";

/// An answer with a value of each type, and messages that are none.
fn snmp_messages() -> Vec<Vec<u8>> {
    let objects = [
        number(0x02, 7),
        text("eth0"),
        vec![0x06, 4, 0x2B, 6, 1, 4],
        vec![0x40, 4, 10, 0, 0, 1],
        number(0x41, 4_000_000_000),
        number(0x42, 17),
        number(0x43, 123_456),
        vec![0x44, 7, 0x9F, 0x78, 4, 0x42, 0xF6, 0, 0],
        number(0x46, u64::MAX),
    ];
    let objects: Objects = (1..).zip(objects).map(|(n, value)| (vec![1, 3, 6, 1, 2, 1, n, 0], value)).collect();
    let asked = hex(&[GET_BULK]);
    let answers = asked.iter().filter_map(|request| answer(request, &objects));
    answers.chain(hex(&[TRAP_2C])).collect()
}

/// What devices send: who they are, one property, several with an error among them, changes, refusals, a part of an answer.
fn bacnet_messages() -> Vec<Vec<u8>> {
    hex(&[
        "810b0018012000ffff00ff1000c4020003e9220400910021e7",
        "810a001b01003001 0c 0c00000001 1955 3e 4441bc0000 3f",
        "810a004e01003002 0e 0c00000001 1e 2955 4e 4441a40000 4f 296f 4e 820400 4f 2975 4e 913e 4f 291c 4e 750900 7a6f6e6520c3a4 4f \
         2967 5e 9102 9120 5f 1f 0c00c00005 1e 2955 4e 2203e8 4f 1f",
        "810a00280100 1002 0912 1c020003e9 2c00000001 3a012c 4e 0955 2e 4441bc0000 2f 096f 2e 820400 2f 4f",
        "810a002b0104 00050 901 0912 1c020003e9 2c00000001 3a012c 4e 0955 2e 4441bc0000 2f 096f 2e 820400 2f 4f",
        "810a000d0100 50070c 9102 9120",
        "810a00090100 600509",
        "810a00090100 710504",
        "810a0015 0100 3c 09 00 04 0e 0c00000001 1e 2955 4e",
        "8104 0022 7f000001bac0 0120ffff00ff 10 00 c4020003e9 220400 9100 21e7 0000000000",
        "810000060000",
    ])
}

fn traps() -> Decoder {
    let secret = |text: &str| Secret(text.to_owned());
    let user = |name: &str, auth: Option<&str>| User {
        name: name.to_owned(),
        auth: auth.map(|password| (AuthProtocol::Sha1, secret(password))),
        privacy: auth.map(|_| (Cipher::Aes128, secret("privpass12"))),
        key_extension: KeyExtension::Blumenthal,
        context: String::new(),
    };
    let boots = std::env::temp_dir().join(format!("pattoo-fuzz-{}.boots", std::process::id()));
    let mut take = by_hand(&Traps {
        listen: ([127, 0, 0, 1], 162).into(),
        communities: vec![secret("public")],
        users: vec![user("open", None), user("mon", Some("authpass12"))],
        engine_id: vec![0x80, 0, 0, 0, 1, 2, 3, 9],
        boots: boots.clone(),
        engines: BTreeMap::new(),
        addresses: BTreeMap::new(),
    });
    // It is only read at the beginning.
    let _ = fs::remove_file(boots);
    let begin = tokio::time::Instant::now();
    let mut number = 0u32;
    Box::new(move |bytes| {
        number = number.wrapping_add(1);
        // A hundred a second are listened to of each source, of which there are many.
        let moment = begin + Duration::from_millis(u64::from(number) / 4);
        take(Ipv4Addr::from(number % 1_000).into(), bytes, moment)
    })
}

/// Bytes from hexadecimal digits; spaces do not count.
fn hex(texts: &[&str]) -> Vec<Vec<u8>> {
    let bytes = |text: &&str| {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    texts.iter().map(bytes).collect()
}

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
    let read = |name: &&str| fs::read_to_string(root().join(format!("gateway/wire/tests/golden/{name}.hex"))).unwrap_or_default();
    names.iter().flat_map(|name| hex(&[&read(name)])).collect()
}

/// With the checksum that its content has: a wrong one would end it all too soon.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let content = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    [content, &crc32fast::hash(content).to_le_bytes()].concat()
}
