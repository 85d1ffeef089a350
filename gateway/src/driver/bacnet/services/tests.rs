use proptest::prelude::*;

use super::*;

fn object(instance: u32) -> ObjectId {
    ObjectId::new(0, instance)
}

/// Field crates, 1.2.5: the crate writes property 600 as 88 and index 300 as 44.
#[test]
fn a_property_above_255_is_written_as_itself() {
    let property = Property::at(object(1), 600, 300);
    let bytes = write_property(property, &Value::Real(1.0), Some(10));
    assert_eq!(bytes, [0x0C, 0, 0, 0, 1, 0x1A, 2, 88, 0x2A, 1, 44, 0x3E, 0x44, 0x3F, 0x80, 0, 0, 0x3F, 0x49, 10]);
    assert_eq!(read_property(property), bytes[..11]);
}

/// Field crates, 1.2.7 and 1.2.8: with the crate each of these costs all of the answer.
#[test]
fn one_odd_property_costs_only_itself() {
    let mut body = Vec::new();
    push_context_object(&mut body, 0, object(1));
    push_opening(&mut body, 1);
    for (id, value) in [
        (28, &b"\x75\x04\x05K\xFCh"[..]),
        (103, &[0x95, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (130, &[0x2E, 0xA4, 126, 1, 2, 3, 0xB4, 1, 2, 3, 4, 0x2F]),
        (123, &[0x0C, 0, 0, 0, 4, 0x19, 85]),
        (900, &[0x73, 9, b'A', b'B']),
        (85, &[0x44, 0x41, 0xAC, 0, 0]),
    ] {
        push_context_unsigned(&mut body, 2, id);
        push_opening(&mut body, 4);
        body.extend(value);
        push_closing(&mut body, 4);
    }
    push_context_unsigned(&mut body, 2, 999);
    push_opening(&mut body, 5);
    body.extend([0x91, 2, 0x92, 1, 44]);
    push_closing(&mut body, 5);
    push_closing(&mut body, 1);
    let found = multiple_ack(&body).unwrap();
    let values: Vec<_> = found.into_iter().map(|(property, given)| (property.id, given)).collect();
    assert_eq!(
        values,
        [
            (28, Ok(vec![Value::Text("Küh".into())])),
            (103, Ok(vec![Value::Unreadable])),
            (130, Ok(vec![Value::Constructed])),
            (123, Ok(vec![Value::Context(0, vec![0, 0, 0, 4]), Value::Context(1, vec![85])])),
            (900, Ok(vec![Value::Unreadable])),
            (85, Ok(vec![Value::Real(21.5)])),
            (999, Err(Refusal { class: 2, code: 300 })),
        ]
    );
}

/// Field crates, 1.2.1: in a notification the crate takes the length of a context tag for one of 8 to 15.
#[test]
fn a_context_tag_among_the_values_of_a_notification_is_stepped_over() {
    let head = [0x09, 3, 0x1C, 0x02, 0, 0, 9, 0x2C, 0, 0, 0, 1, 0x39, 60, 0x4E];
    let values = [0x09, 85, 0x2E, 0x09, 7, 0x44, 0x41, 0xAC, 0, 0, 0x2F, 0x09, 111, 0x2E, 0x82, 4, 0x40, 0x2F];
    let body = [&head[..], &values, &[0x4F]].concat();
    let found = notification(&body).unwrap();
    assert_eq!((found.process, found.device, found.object, found.left_s), (3, 9, object(1), 60));
    let flags = Value::Bits(vec![false, true, false, false]);
    assert_eq!(found.values, [(85, vec![Value::Context(0, vec![7]), Value::Real(21.5)]), (111, vec![flags])]);
}

#[test]
fn an_answer_with_something_behind_it_or_to_another_service_is_none() {
    let good = [0x0C, 0, 0, 0, 1, 0x19, 85, 0x3E, 0x21, 7, 0x3F];
    assert_eq!(property_ack(&good), Ok((Property::of(object(1), 85), vec![Value::Unsigned(7)])));
    assert_eq!(property_ack(&[&good[..], &[0]].concat()), Err(Malformed));
    for end in 0..good.len() {
        assert_eq!(property_ack(&good[..end]), Err(Malformed), "cut at {end}");
    }
}

#[test]
fn subscriptions_are_written_as_the_standard_has_them() {
    assert_eq!(subscribe(8, object(1), true, 300), [0x09, 8, 0x1C, 0, 0, 0, 1, 0x29, 1, 0x3A, 1, 44]);
    assert_eq!(who_is(Some((1_000, 4_194_302))), [0x0A, 3, 0xE8, 0x1B, 0x3F, 0xFF, 0xFE]);
    assert_eq!(who_is_range(&who_is(Some((7, 9)))), Ok(Some((7, 9))));
    assert_eq!(who_is_range(&[]), Ok(None));
}

proptest! {
    #[test]
    fn no_bytes_make_a_service_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = (property_ack(&bytes), multiple_ack(&bytes), notification(&bytes), i_am(&bytes), who_is_range(&bytes), error(&bytes));
    }
}
