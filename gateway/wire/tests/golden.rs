//! Golden bytes of every version: what old gateways have in their buffers must stay readable for ever.
//!
//! `PATTOO_GOLDEN=write cargo test -p pattoo-wire --test golden` writes them anew. Once a version is released, do that only to
//! add files: a changed byte is a new version.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod samples;

use std::path::PathBuf;

use pattoo_wire::{Ack, Ask, GapReason, Hello, Schema};

use samples::{HEADER, HELLO, ack, ack_ahead, ask, batch, bits, decode_body, decode_data, messages, schema};

fn to_hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// The bytes in the tree.
fn kept(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if std::env::var_os("PATTOO_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, to_hex(written)).unwrap();
    }
    from_hex(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The bytes in the tree, after checking that this program still writes exactly them.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let kept = kept(name, written);
    assert_eq!(to_hex(&kept), to_hex(written), "{name} is no longer written as it was");
    kept
}

#[test]
fn version_1_of_a_schema_is_written_and_read_as_ever() {
    let message = golden("v1-schema", &messages().schema);
    let (id, decoded) = Schema::decode(&message).unwrap();
    assert_eq!(decoded, schema());
    assert_eq!(id, messages().id);
    assert_eq!(id.to_string(), "5b11a184", "the id that topics name");
}

#[test]
fn version_1_of_a_stored_body_is_written_and_read_as_ever() {
    let message = golden("v1-body", &messages().body);
    assert_eq!(bits(&decode_body(&message, &schema()).unwrap()), bits(&batch()));
}

#[test]
fn version_1_of_a_data_message_is_written_and_read_as_ever() {
    let message = golden("v1-data", &messages().data);
    let (header, decoded) = decode_data(&message, &schema()).unwrap();
    assert_eq!((header, bits(&decoded)), (HEADER, bits(&batch())));
}

#[test]
fn version_1_of_an_acknowledgement_is_written_and_read_as_ever() {
    let message = golden("v1-ack", &messages().ack);
    assert_eq!(Ack::decode(&message), Ok(ack()));
}

/// Another release of the compressor may write other bytes; what was written must be readable.
#[test]
fn version_2_of_bodies_and_data_messages_is_read_as_ever() {
    let body = kept("v2-body", &messages().packed_body);
    assert_eq!((body[0], bits(&decode_body(&body, &schema()).unwrap())), (2, bits(&batch())));
    let (header, decoded) = decode_data(&kept("v2-data", &messages().packed_data), &schema()).unwrap();
    assert_eq!((header, bits(&decoded)), (HEADER, bits(&batch())));
}

#[test]
fn version_2_of_an_acknowledgement_is_written_and_read_as_ever() {
    assert_eq!(Ack::decode(&golden("v2-ack", &messages().ack_ahead)), Ok(ack_ahead()));
}

#[test]
fn version_1_of_a_hello_and_of_its_answer_is_written_and_read_as_ever() {
    assert_eq!(Hello::decode(&golden("v1-hello", &messages().hello)), Ok(HELLO));
    assert_eq!(Ask::decode(&golden("v1-ask", &messages().ask)), Ok(ask()));
}

#[test]
fn a_reason_of_a_gap_has_its_number_for_ever() {
    let numbered = [
        (1, GapReason::BufferFull),
        (2, GapReason::TooOld),
        (3, GapReason::Damaged),
        (4, GapReason::Thinned),
        (5, GapReason::ClockStep),
        (6, GapReason::NotHeld),
        (7, GapReason::Refused),
        (8, GapReason::Other(8)),
    ];
    for (number, reason) in numbered {
        assert_eq!((reason.code(), GapReason::from_code(number)), (number, reason));
    }
}
