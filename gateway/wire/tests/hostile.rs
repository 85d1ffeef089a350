//! Whatever bytes come, decoding gives a value or an error; and what it gives could have been sent.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod samples;

use pattoo_wire::{Ack, Ask, Batch, Hello, Schema, SchemaId, WireError, data_message};
use proptest::prelude::*;

use samples::{batch, bits, content, decode_body, decode_data, messages, reseal, schema, with_huge_counts};

/// Reads bytes as each kind of message. What is accepted must encode again, and then decode to the same.
fn read_all(message: &[u8], schema: &Schema) {
    if let Ok(found) = decode_body(message, schema) {
        same_again(&found, schema);
    }
    if let Ok((header, found)) = decode_data(message, schema) {
        assert!((1..=header.seq).contains(&header.oldest), "{header:?}");
        same_again(&found, schema);
    }
    if let Ok((_, found)) = Schema::decode(message) {
        let (_, again) = found.encode().unwrap();
        assert_eq!(Schema::decode(&again).unwrap().1, found);
    }
    if let Ok(found) = Ack::decode(message) {
        assert_eq!(Ack::decode(&found.encode().unwrap()), Ok(found));
    }
    if let Ok(found) = Hello::decode(message) {
        assert_eq!(Hello::decode(&found.encode().unwrap()), Ok(found));
    }
    if let Ok(found) = Ask::decode(message) {
        assert_eq!(Ask::decode(&found.encode().unwrap()), Ok(found));
    }
}

fn same_again(found: &Batch, schema: &Schema) {
    let body = found.encode(SchemaId(1), schema).unwrap();
    assert_eq!(bits(&decode_body(&body, schema).unwrap()), bits(found));
}

fn all_messages() -> [Vec<u8>; 9] {
    messages().all()
}

/// An error for this message as any kind.
fn refused_by_all(message: &[u8], schema: &Schema) -> bool {
    decode_body(message, schema).is_err()
        && decode_data(message, schema).is_err()
        && Schema::decode(message).is_err()
        && Ack::decode(message).is_err()
        && Hello::decode(message).is_err()
        && Ask::decode(message).is_err()
}

#[test]
fn every_flipped_bit_is_noticed() {
    let schema = schema();
    for message in all_messages() {
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(refused_by_all(&damaged, &schema), "bit {bit}");
        }
    }
}

#[test]
fn a_flipped_bit_with_a_correct_checksum_never_panics() {
    let schema = schema();
    for message in all_messages() {
        let content = content(&message);
        for bit in 8..content.len() * 8 {
            let mut changed = content.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            read_all(&reseal(changed), &schema);
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_refused_even_with_a_correct_checksum() {
    let (schema, m) = (schema(), messages());
    for message in all_messages() {
        for len in 0..message.len() {
            assert!(refused_by_all(&message[..len], &schema), "{len} of {}", message.len());
        }
    }
    let cut = |message: &[u8], len: usize| reseal(content(message)[..len].to_vec());
    for len in 1..content(&m.schema).len() {
        assert!(Schema::decode(&cut(&m.schema, len)).is_err(), "schema, {len}");
    }
    for len in 1..content(&m.body).len() {
        assert!(decode_body(&cut(&m.body, len), &schema).is_err(), "body, {len}");
    }
    for len in 1..content(&m.data).len() {
        assert!(decode_data(&cut(&m.data, len), &schema).is_err(), "data, {len}");
    }
    for message in [&m.ack, &m.ack_ahead] {
        for len in 1..content(message).len() {
            assert!(Ack::decode(&cut(message, len)).is_err(), "ack, {len}");
        }
    }
    for len in 1..content(&m.packed_body).len() {
        assert!(decode_body(&cut(&m.packed_body, len), &schema).is_err(), "compressed body, {len}");
    }
    for len in 1..content(&m.packed_data).len() {
        assert!(decode_data(&cut(&m.packed_data, len), &schema).is_err(), "compressed data, {len}");
    }
    for len in 1..content(&m.hello).len() {
        assert!(Hello::decode(&cut(&m.hello, len)).is_err(), "hello, {len}");
    }
    for len in 1..content(&m.ask).len() {
        assert!(Ask::decode(&cut(&m.ask, len)).is_err(), "ask, {len}");
    }
}

#[test]
fn a_byte_too_many_is_refused() {
    let (schema, m) = (schema(), messages());
    let longer = |message: &[u8]| reseal([content(message), &[0]].concat());
    assert_eq!(Schema::decode(&longer(&m.schema)), Err(WireError::Trailing(1)));
    assert_eq!(decode_body(&longer(&m.body), &schema), Err(WireError::Trailing(1)));
    assert_eq!(decode_data(&longer(&m.data), &schema), Err(WireError::Trailing(1)));
    assert_eq!(decode_body(&longer(&m.packed_body), &schema), Err(WireError::Trailing(1)));
    assert_eq!(decode_data(&longer(&m.packed_data), &schema), Err(WireError::Trailing(1)));
    assert_eq!(Ack::decode(&longer(&m.ack)), Err(WireError::Trailing(1)));
    assert_eq!(Ack::decode(&longer(&m.ack_ahead)), Err(WireError::Trailing(1)));
    assert_eq!(Hello::decode(&longer(&m.hello)), Err(WireError::Trailing(1)));
    assert_eq!(Ask::decode(&longer(&m.ask)), Err(WireError::Trailing(1)));
}

#[test]
fn an_enormous_count_anywhere_never_panics() {
    let schema = schema();
    for message in all_messages() {
        with_huge_counts(&message).for_each(|message| read_all(&message, &schema));
    }
}

#[test]
fn each_fault_has_its_own_error() {
    let (schema, m) = (schema(), messages());
    let mut newer = m.body.clone();
    newer[0] = 3;
    assert_eq!(decode_body(&newer, &schema), Err(WireError::Version(3)));
    let mut hello = m.hello.clone();
    hello[0] = 2;
    assert_eq!(Hello::decode(&hello), Err(WireError::Version(2)));
    assert_eq!(decode_body(&[], &schema), Err(WireError::Truncated("version")));
    assert_eq!(decode_body(&m.body[..4], &schema), Err(WireError::Truncated("checksum")));
    assert!(matches!(decode_body(&m.body[..100], &schema), Err(WireError::Checksum { .. })));
    assert_eq!(decode_body(&vec![1; 8001], &schema), Err(WireError::TooLong { found: 8001, limit: 8000 }));
    assert_eq!(decode_data(&vec![1; 8065], &schema), Err(WireError::TooLong { found: 8065, limit: 8064 }));
    assert_eq!(Ack::decode(&[1; 667]), Err(WireError::TooLong { found: 667, limit: 666 }));
    let body = pattoo_wire::Body::open(&m.body).unwrap();
    let other = SchemaId(m.id.0 ^ 1);
    assert_eq!(body.decode(other, &schema), Err(WireError::Schema { found: m.id.0, given: other.0 }));
    for (seq, oldest) in [(5, 6), (0, 0), (7, 0)] {
        let header = pattoo_wire::Header { stream: 1, seq, oldest };
        let error = decode_data(&data_message(&header, &m.body).unwrap(), &schema).unwrap_err();
        assert!(error.to_string().contains("says that the oldest is"), "{error}");
    }
}

#[test]
fn a_batch_of_a_larger_schema_is_refused_by_a_smaller_one() {
    let (mut schema, m) = (schema(), messages());
    schema.series.truncate(8);
    let error = decode_body(&m.body, &schema).unwrap_err();
    assert!(error.to_string().contains("series 9 is not in the schema, which has 8"), "{error}");
    assert_eq!(batch().blocks[0].series.last(), Some(&8), "the example uses the series that was taken away");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes, &schema());
        read_all(&reseal([&[1][..], &bytes].concat()), &schema());
        read_all(&reseal([&[2][..], &bytes].concat()), &schema());
    }

    /// Small numbers make far more of a message look right than random bytes do.
    #[test]
    fn random_small_numbers_never_panic(bytes in proptest::collection::vec(0u8..6, 0..200)) {
        read_all(&reseal([&[1][..], &bytes].concat()), &schema());
        read_all(&reseal([&[2][..], &bytes].concat()), &schema());
    }

    #[test]
    fn random_changes_to_a_message_never_panic(
        which in 0usize..9,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut changed = content(&all_messages()[which]).to_vec();
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        read_all(&reseal(changed), &schema());
    }
}
