//! Golden bytes of version 1: what old gateways have in their buffers must stay readable for ever.
//!
//! `PATTOO_GOLDEN=write cargo test -p pattoo-wire --test golden` writes them anew. Once a version is released, do that only to
//! add files: a changed byte is a new version.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod samples;

use std::path::PathBuf;

use pattoo_wire::{Ack, Schema};

use samples::{ACK, HEADER, batch, bits, decode_body, decode_data, messages, schema};

fn to_hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// The bytes in the tree, after checking that this program still writes exactly them.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("v1-{name}.hex"));
    if std::env::var_os("PATTOO_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, to_hex(written)).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(text, to_hex(written), "{name}: version 1 is no longer written as it was");
    from_hex(&text)
}

#[test]
fn version_1_of_a_schema_is_written_and_read_as_ever() {
    let message = golden("schema", &messages().schema);
    let (id, decoded) = Schema::decode(&message).unwrap();
    assert_eq!(decoded, schema());
    assert_eq!(id, messages().id);
    assert_eq!(id.to_string(), "5b11a184", "the id that topics name");
}

#[test]
fn version_1_of_a_stored_body_is_written_and_read_as_ever() {
    let message = golden("body", &messages().body);
    assert_eq!(bits(&decode_body(&message, &schema()).unwrap()), bits(&batch()));
}

#[test]
fn version_1_of_a_data_message_is_written_and_read_as_ever() {
    let message = golden("data", &messages().data);
    let (header, decoded) = decode_data(&message, &schema()).unwrap();
    assert_eq!((header, bits(&decoded)), (HEADER, bits(&batch())));
}

#[test]
fn version_1_of_an_acknowledgement_is_written_and_read_as_ever() {
    let message = golden("ack", &messages().ack);
    assert_eq!(Ack::decode(&message), Ok(ACK));
}
