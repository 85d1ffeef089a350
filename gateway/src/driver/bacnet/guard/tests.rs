use proptest::prelude::*;

use super::super::tags::Value;
use super::*;

/// An APDU in a datagram as devices send it.
fn unicast(apdu: &[u8]) -> Vec<u8> {
    to_one(None, false, apdu)
}

fn message_of(apdu: &[u8]) -> Result<Message, Malformed> {
    match frame(&unicast(apdu))? {
        Frame::Message { message, .. } => Ok(message),
        other => panic!("{other:?}"),
    }
}

/// Field crates, 1.2.1: this datagram ends the thread that has the crate read it.
#[test]
fn an_unsigned_of_nine_bytes_in_an_answer_panics_nobody() {
    let ack = [0x30, 1, 12, 0x0C, 0, 0, 0, 1, 0x19, 85, 0x3E, 0x25, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x3F];
    let Ok(Message::ComplexAck { invoke: 1, service: 12, segment: None, body }) = message_of(&ack) else { panic!() };
    assert_eq!(services::property_ack(&body).unwrap().1, [Value::Unreadable]);
}

/// Field crates, 1.2.2: the crate subtracts the header from a length that is less.
#[test]
fn a_bvlc_length_below_its_header_or_other_than_the_datagram_is_refused() {
    for datagram in [&[0x81, 0x0A, 0x00, 0x02, 0x01, 0x00][..], &[0x81, 0x0A, 0x00, 0x03], &[0x81, 0x0A, 0x00, 0x09, 1, 0], &[0x81], &[]] {
        assert_eq!(frame(datagram), Err(Malformed), "{datagram:02x?}");
    }
}

/// Field crates, 1.2.3: the crate reads behind a write request that ends with `29`.
#[test]
fn a_truncated_write_request_to_this_side_is_a_question_that_is_refused() {
    let request = [0x00, 0x05, 7, 15, 0x0C, 0, 0, 0, 1, 0x19, 85, 0x29];
    assert!(matches!(message_of(&request), Ok(Message::Request { invoke: 7, service: 15, .. })));
}

/// Field crates, 1.1: the crate has no name for these services, and refuses messages that have them.
#[test]
fn services_without_a_name_are_told_apart() {
    for service in [18, 19, 27, 30, 31, 32, 33, 200] {
        assert!(matches!(message_of(&[0x00, 0x05, 7, service, 1, 2]), Ok(Message::Request { invoke: 7, .. })), "{service}");
        assert!(matches!(message_of(&[0x30, 7, service, 1, 2]), Ok(Message::ComplexAck { invoke: 7, .. })), "{service}");
        assert!(matches!(message_of(&[0x50, 7, service, 0x91, 2, 0x91, 32]), Ok(Message::Error { invoke: 7, .. })), "{service}");
    }
    assert_eq!(message_of(&[0x10, 99, 1]), Ok(Message::Unasked));
}

/// Field crates, 1.2.9: the crate cuts the code 300 to 44, and cannot read errors that have more around them.
#[test]
fn class_and_code_of_an_error_keep_all_their_bits() {
    let refusal = |class, code| Some(Refusal { class, code });
    for (apdu, expected) in [
        (&[0x50, 7, 12, 0x91, 2, 0x91, 32][..], refusal(2, 32)),
        (&[0x50, 7, 12, 0x92, 1, 0, 0x92, 1, 44], refusal(256, 300)),
        (&[0x50, 7, 16, 0x0E, 0x91, 2, 0x91, 40, 0x0F, 0x1E, 0x1F], refusal(2, 40)),
        (&[0x50, 7, 12], None),
        (&[0x50, 7, 12, 0x21, 1], None),
    ] {
        assert_eq!(message_of(apdu), Ok(Message::Error { invoke: 7, service: apdu[2], refusal: expected }), "{apdu:02x?}");
    }
}

#[test]
fn what_a_bbmd_forwards_is_from_whom_it_says_and_a_station_behind_a_router_is_itself() {
    let i_am = [0x10, 0x00, 0xC4, 0x02, 0, 0, 7, 0x22, 1, 0xE0, 0x91, 3, 0x21, 5];
    let npdu = [&[0x01, 0x08, 0, 5, 1, 0x1A][..], &i_am].concat();
    let length = u8::try_from(10 + npdu.len()).unwrap();
    let datagram = [&[0x81, 0x04, 0, length, 10, 1, 0, 9, 0xBA, 0xC0][..], &npdu].concat();
    let Ok(Frame::Message { forwarded, from, message }) = frame(&datagram) else { panic!() };
    assert_eq!(forwarded, Some(([10, 1, 0, 9], 47_808)));
    assert_eq!(from, Some(Station { network: 5, mac: vec![0x1A] }));
    let own = IAm { device: 7, max_apdu: 480, segmentation: services::Segmentation::None, vendor: 5 };
    assert_eq!(message, Message::IAm(own));
}

#[test]
fn frames_are_built_as_the_standard_has_them() {
    let station = Station { network: 5, mac: vec![0x1A] };
    let read = question(7, ConfirmedServiceChoice::ReadProperty, vec![0x0C, 0, 0, 0, 1, 0x19, 85]);
    assert_eq!(read, [0x02, 0x65, 7, 12, 0x0C, 0, 0, 0, 1, 0x19, 85], "64 segments of 1476 bytes");
    assert_eq!(to_one(None, true, &[1, 2]), [0x81, 0x0A, 0, 8, 1, 0x04, 1, 2]);
    assert_eq!(to_one(Some(&station), true, &[1, 2]), [0x81, 0x0A, 0, 13, 1, 0x24, 0, 5, 1, 0x1A, 255, 1, 2]);
    assert_eq!(to_all(false, &[1, 2]), [0x81, 0x0B, 0, 12, 1, 0x20, 0xFF, 0xFF, 0, 255, 1, 2]);
    assert_eq!(to_all(true, &[1, 2])[..2], [0x81, 0x09], "by way of the BBMD");
    assert_eq!(register(300), [0x81, 0x05, 0, 6, 1, 44]);
    assert_eq!(frame(&[0x81, 0x00, 0, 6, 0, 0x30]), Ok(Frame::Result(0x30)));
    assert_eq!(frame(&[0x81, 0x00, 0, 5, 0]), Err(Malformed), "the crate reads two bytes of a result");
}

#[test]
fn segments_may_be_a_little_longer_than_this_side_said() {
    let ack = [&[0x3C, 7, 0, 4, 12][..], &[0; MAX_APDU as usize]].concat();
    assert!(matches!(message_of(&ack), Ok(Message::ComplexAck { segment: Some(Segment { number: 0, window: 4, more: true }), .. })));
}

fn apdu() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(first, rest)| [vec![first & 0x7F], rest].concat())
}

proptest! {
    /// Without the net: what the looks before let through must not panic in the crate.
    #[test]
    fn no_datagram_makes_the_reader_panic(datagram in prop::collection::vec(any::<u8>(), 0..60), apdu in apdu()) {
        let _ = frame(&datagram);
        let _ = frame(&unicast(&apdu));
        let _ = frame(&bvlc(BvlcFunction::ForwardedNpdu, &datagram));
    }
}
