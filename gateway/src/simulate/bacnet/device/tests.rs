use proptest::prelude::*;

use super::super::object::{COV_INCREMENT, Writable};
use super::*;

fn peer(port: u16) -> Peer {
    Peer { address: ([10, 0, 0, 9], port).into(), behind: None }
}

const AI: ObjectId = ObjectId { kind: 0, instance: 1 };
const AO: ObjectId = ObjectId { kind: 1, instance: 1 };
const AV: ObjectId = ObjectId { kind: 2, instance: 7 };
const MSV: ObjectId = ObjectId { kind: 19, instance: 1 };

/// A thermostat of instance 1001, with some more objects than fit into one answer.
fn device() -> Device {
    let number = |id, name: &str, value: f32| Object::new(id, name).with_value(Value::Real(value));
    let mut measured = number(AI, "ZN-T", 21.5);
    measured.hold(COV_INCREMENT, Held::One(Value::Real(0.5)));
    let mut output = number(AO, "CLG-O", 10.0).commandable();
    output.writable = Writable::Between(0.0, 100.0);
    let mut setpoint = number(AV, "SP", 20.0);
    setpoint.writable = Writable::Between(10.0, 30.0);
    let mut mode = Object::new(MSV, "MODE").with_value(Value::Unsigned(2));
    mode.hold(110, Held::Array(["off", "heat", "cool"].map(|text| Value::Text(text.into())).to_vec()));
    mode.hold(28, Held::One(Value::Text("x".repeat(60))));
    mode.writable = Writable::OneOf(vec![1.0, 2.0]);
    let many = (100..500).map(|n| number(ObjectId::new(2, n), &format!("AV {n}"), 0.0));
    let itself = Itself { instance: 1001, name: "t".into(), vendor: 28, vendor_name: "KMC".into(), model: "BAC".into() };
    Device::new(itself, Ability::default(), [measured, output, setpoint, mode].into_iter().chain(many))
}

fn ask(device: &mut Device, service: u8, body: &[u8]) -> Vec<u8> {
    let request = [&[0x02, 0x75, 7, service][..], body].concat();
    let sent = device.answer(&peer(1), &request, 0);
    sent.into_iter().next().map(|sent| sent.apdu).unwrap_or_default()
}

fn read(device: &mut Device, id: ObjectId, property: u32, index: Option<u32>) -> Vec<u8> {
    let mut body = Vec::new();
    push_context_object(&mut body, 0, id);
    push_place(&mut body, 1, property, index);
    ask(device, service::READ_PROPERTY, &body)
}

/// The values of an answer to a read.
fn value(device: &mut Device, id: ObjectId, property: u32, index: Option<u32>) -> Vec<Value> {
    let answer = read(device, id, property, index);
    let mut reader = Reader::new(answer.strip_prefix(&[0x30, 7, 12]).unwrap_or_else(|| panic!("{answer:02x?}")));
    reader.object(0).unwrap();
    reader.unsigned(1).unwrap();
    reader.optional_unsigned(2).unwrap();
    assert!(reader.opens(3));
    reader.values_until(3).unwrap()
}

fn write(device: &mut Device, id: ObjectId, value: &Value, priority: Option<u32>) -> Vec<u8> {
    let mut body = Vec::new();
    push_context_object(&mut body, 0, id);
    push_context_unsigned(&mut body, 1, PRESENT_VALUE);
    push_inside(&mut body, 3, &encoded(std::slice::from_ref(value)));
    priority.iter().for_each(|priority| push_context_unsigned(&mut body, 4, *priority));
    ask(device, service::WRITE_PROPERTY, &body)
}

const DONE: [u8; 3] = [0x20, 7, 15];

#[test]
fn who_is_is_answered_by_whom_it_means() {
    for (range, meant) in
        [(None, true), (Some((0, 1001)), true), (Some((1001, 1001)), true), (Some((0, 1000)), false), (Some((1002, ANY_INSTANCE)), false)]
    {
        let mut apdu = vec![0x10, 8];
        if let Some((low, high)) = range {
            push_context_unsigned(&mut apdu, 0, low);
            push_context_unsigned(&mut apdu, 1, high);
        }
        let sent = device().answer(&peer(1), &apdu, 0);
        assert_eq!(sent.len(), usize::from(meant), "{range:?}");
        // Device 1001, 1476 bytes, no segmentation, vendor 28.
        let expected = [0x10, 0, 0xC4, 0x02, 0, 3, 0xE9, 0x22, 5, 0xC4, 0x91, 3, 0x21, 28];
        assert!(sent.iter().all(|sent| sent.apdu == expected && sent.to == peer(1)), "{sent:02x?}");
    }
}

#[test]
fn a_property_is_read_with_its_type_and_an_array_by_index() {
    let mut device = device();
    for (id, property, index, expected) in [
        (AI, PRESENT_VALUE, None, vec![Value::Real(21.5)]),
        (AI, STATUS_FLAGS, None, vec![Value::Bits(vec![false; 4])]),
        (MSV, 110, Some(3), vec![Value::Text("cool".into())]),
        (MSV, 110, Some(0), vec![Value::Unsigned(3)]),
        (MSV, 77, None, vec![Value::Text("MODE".into())]),
        (ObjectId::new(DEVICE, 1001), OBJECT_LIST, Some(0), vec![Value::Unsigned(405)]),
        (ObjectId::new(DEVICE, ANY_INSTANCE), 120, None, vec![Value::Unsigned(28)]),
        (AO, 87, None, vec![Value::Null; 16]),
        (AO, 104, None, vec![Value::Real(10.0)]),
    ] {
        assert_eq!(value(&mut device, id, property, index), expected, "{id:?} {property} {index:?}");
    }
    let first = value(&mut device, ObjectId::new(DEVICE, 1001), OBJECT_LIST, Some(1));
    assert_eq!(first, [Value::Object(AI)]);
}

#[test]
fn what_is_not_there_is_refused_by_its_code() {
    let mut device = device();
    for (id, property, index, class, code) in [
        (ObjectId::new(0, 2), PRESENT_VALUE, None, 1, 31),
        (AI, 110, None, 2, 32),
        (AI, 87, None, 2, 32),
        (AI, PRESENT_VALUE, Some(1), 2, 50),
        (MSV, 110, Some(4), 2, 42),
    ] {
        assert_eq!(read(&mut device, id, property, index), [0x50, 7, 12, 0x91, class, 0x91, code], "{id:?} {property} {index:?}");
    }
    // DeviceCommunicationControl; then a request cut short.
    assert_eq!(ask(&mut device, 17, &[]), [0x60, 7, 9]);
    assert_eq!(ask(&mut device, service::READ_PROPERTY, &[0x0C, 0, 0]), [0x60, 7, 4]);
}

/// Clause 5.4.5.3: a device without segmentation says so, and the client reads the list by index.
#[test]
fn what_does_not_fit_into_one_answer_is_broken_off() {
    let mut device = device();
    assert_eq!(read(&mut device, ObjectId::new(DEVICE, 1001), OBJECT_LIST, None), [0x71, 7, 4]);
    // A client that takes 50 bytes.
    let mut body = Vec::new();
    push_context_object(&mut body, 0, MSV);
    push_context_unsigned(&mut body, 1, 110);
    let sent = device.answer(&peer(1), &[&[0x00, 0x00, 7, 12][..], &body].concat(), 0);
    assert_eq!(sent[0].apdu.len(), 31, "three short texts fit");
    let mut body = Vec::new();
    push_context_object(&mut body, 0, MSV);
    push_context_unsigned(&mut body, 1, 28);
    for (sizes, fits) in [(0x00, false), (0x01, true)] {
        let sent = device.answer(&peer(1), &[&[0x00, sizes, 7, 12][..], &body].concat(), 0);
        assert_eq!(sent[0].apdu[0] == 0x30, fits, "a text of 60 bytes for a client that takes {} bytes", longest(sizes));
    }
    let sent = device.answer(&peer(1), &[&[0x08, 0x00, 7, 0, 1, 12][..], &body].concat(), 0);
    assert_eq!(sent[0].apdu, [0x71, 7, 4], "a request in segments");
}

#[test]
fn several_properties_are_read_at_once_and_each_error_costs_only_itself() {
    let mut body = Vec::new();
    for (id, properties) in [(AI, &[PRESENT_VALUE, 110][..]), (ObjectId::new(0, 9), &[PRESENT_VALUE]), (MSV, &[ALL])] {
        push_context_object(&mut body, 0, id);
        push_opening(&mut body, 1);
        properties.iter().for_each(|property| push_context_unsigned(&mut body, 0, *property));
        push_closing(&mut body, 1);
    }
    let answer = ask(&mut device(), service::READ_MULTIPLE, &body);
    let mut reader = Reader::new(answer.strip_prefix(&[0x30, 7, 14]).unwrap());
    let mut told = Vec::new();
    while !reader.is_empty() {
        let id = reader.object(0).unwrap();
        assert!(reader.opens(1));
        while !reader.closes(1) {
            let property = reader.unsigned(2).unwrap();
            let held = if reader.opens(4) { reader.values_until(4) } else { reader.opens(5).then(|| reader.values_until(5)).unwrap() };
            told.push((id, property, held.unwrap()));
        }
    }
    assert_eq!(told[0], (AI, PRESENT_VALUE, vec![Value::Real(21.5)]));
    assert_eq!(told[1], (AI, 110, vec![Value::Enumerated(2), Value::Enumerated(32)]));
    assert_eq!(told[2], (ObjectId::new(0, 9), PRESENT_VALUE, vec![Value::Enumerated(1), Value::Enumerated(31)]));
    let all: Vec<u32> = told[3..].iter().map(|(_, property, _)| *property).collect();
    assert_eq!(all, [28, 36, 75, 77, 79, 81, 85, 110, 111]);
}

#[test]
fn a_command_holds_by_its_priority_until_it_is_given_back() {
    let mut device = device();
    let present = |device: &mut Device| value(device, AO, PRESENT_VALUE, None);
    assert_eq!(write(&mut device, AO, &Value::Real(40.0), Some(10)), DONE);
    assert_eq!(write(&mut device, AO, &Value::Real(60.0), None), DONE);
    assert_eq!(present(&mut device), [Value::Real(40.0)], "10 is stronger than 16");
    assert_eq!(write(&mut device, AO, &Value::Null, Some(10)), DONE);
    assert_eq!(present(&mut device), [Value::Real(60.0)]);
    assert_eq!(write(&mut device, AO, &Value::Null, None), DONE);
    assert_eq!(present(&mut device), [Value::Real(10.0)], "the relinquish default");
}

#[test]
fn a_write_that_does_not_fit_changes_nothing() {
    let mut device = device();
    let refused = |class, code| vec![0x50, 7, 15, 0x91, class, 0x91, code];
    for (id, value, priority, expected) in [
        (AI, Value::Real(1.0), None, refused(2, 40)),
        (AI, Value::Null, None, refused(2, 40)),
        (AO, Value::Real(100.5), None, refused(2, 37)),
        (AO, Value::Real(f32::NAN), None, refused(2, 37)),
        (AO, Value::Unsigned(50), None, refused(2, 9)),
        (AO, Value::Real(50.0), Some(17), refused(2, 37)),
        (AO, Value::Real(50.0), Some(0), refused(2, 37)),
        (AV, Value::Null, Some(8), refused(2, 9)),
        (MSV, Value::Unsigned(3), None, refused(2, 37)),
        (ObjectId::new(5, 5), Value::Enumerated(1), None, refused(1, 31)),
    ] {
        assert_eq!(write(&mut device, id, &value, priority), expected, "{id:?} {value:?} {priority:?}");
    }
    assert_eq!(value(&mut device, AO, 87, None), vec![Value::Null; 16]);
    // Without commands, what is written stays in place of what is measured.
    assert_eq!(write(&mut device, AV, &Value::Real(25.0), Some(8)), DONE);
    let _ = device.measure([(AV, Value::Real(20.5)), (AI, Value::Real(22.0))], 0);
    assert_eq!(value(&mut device, AV, PRESENT_VALUE, None), [Value::Real(25.0)]);
    assert_eq!(value(&mut device, AI, PRESENT_VALUE, None), [Value::Real(22.0)]);
}

fn subscribe(device: &mut Device, from: &Peer, id: ObjectId, confirmed: Option<u8>, lifetime_s: Option<u32>, now_ms: u64) -> Vec<Sent> {
    let mut body = Vec::new();
    push_context_unsigned(&mut body, 0, 99);
    push_context_object(&mut body, 1, id);
    confirmed.iter().for_each(|flag| push_context_unsigned(&mut body, 2, u32::from(*flag)));
    lifetime_s.iter().for_each(|lifetime| push_context_unsigned(&mut body, 3, *lifetime));
    device.answer(from, &[&[0x00, 0x05, 7, service::SUBSCRIBE_COV][..], &body].concat(), now_ms)
}

#[test]
fn a_subscriber_is_told_at_once_and_then_of_changes_by_the_increment_until_it_ends() {
    let mut device = device();
    let sent = subscribe(&mut device, &peer(1), AI, Some(0), Some(60), 0);
    assert_eq!(sent[0].apdu, [0x20, 7, 5]);
    let notification = |left: u8, value: f32| {
        let mut apdu = vec![0x10, 2, 0x09, 99, 0x1C, 0x02, 0, 3, 0xE9, 0x2C, 0, 0, 0, 1, 0x39, left, 0x4E, 0x09, 85, 0x2E, 0x44];
        apdu.extend(value.to_be_bytes());
        apdu.extend([0x2F, 0x09, 111, 0x2E, 0x82, 4, 0, 0x2F, 0x4F]);
        apdu
    };
    assert_eq!(sent[1].apdu, notification(60, 21.5));
    let mut measured =
        |value, now_ms| device.measure([(AI, Value::Real(value))], now_ms).into_iter().map(|sent| sent.apdu).collect::<Vec<_>>();
    assert!(measured(21.9, 1000).is_empty(), "less than the increment of 0.5");
    assert_eq!(measured(22.0, 2000), [notification(58, 22.0)]);
    assert!(measured(21.6, 3000).is_empty(), "less than that from what was told last");
    assert_eq!(measured(30.0, 59_500), [notification(1, 30.0)]);
    assert!(measured(10.0, 60_000).is_empty(), "its time is over");
}

#[test]
fn a_notification_that_is_not_acknowledged_comes_again_and_has_an_end() {
    let mut device = device();
    let sent = subscribe(&mut device, &peer(1), AI, Some(1), None, 0);
    let told = sent[1].clone();
    assert!(told.expects_reply);
    assert_eq!(told.apdu[3], service::COV_NOTIFICATION);
    let mut again = |now_ms| device.measure([], now_ms);
    assert_eq!(again(2999), []);
    assert_eq!(again(3000), std::slice::from_ref(&told));
    assert_eq!(again(6000), std::slice::from_ref(&told));
    assert_eq!(again(9000), std::slice::from_ref(&told));
    assert_eq!(again(12_000), [], "three times again are enough");
    let sent = subscribe(&mut device, &peer(1), AI, Some(1), None, 20_000);
    let invoke = sent[1].apdu[2];
    assert_eq!(device.answer(&peer(2), &[0x20, invoke, 1], 20_000), [], "by somebody else");
    assert_eq!(device.measure([], 23_000).len(), 1);
    assert_eq!(device.answer(&peer(1), &[0x20, invoke, 1], 23_000), []);
    assert_eq!(device.measure([], 26_000), []);
}

#[test]
fn subscriptions_are_renewed_cancelled_and_bounded() {
    let mut device = device();
    for now_ms in [0, 1000] {
        assert_eq!(subscribe(&mut device, &peer(1), AI, Some(0), Some(60), now_ms).len(), 2, "told at once, when renewed too");
    }
    assert_eq!(device.measure([(AI, Value::Real(50.0))], 60_500).len(), 1, "renewed at 1 s, it lasts until 61 s, and is told once");
    assert_eq!(subscribe(&mut device, &peer(1), AI, None, None, 60_600).len(), 1);
    assert_eq!(device.measure([(AI, Value::Real(10.0))], 60_700), []);
    assert_eq!(subscribe(&mut device, &peer(1), ObjectId::new(0, 2), Some(0), Some(60), 0)[0].apdu, [0x50, 7, 5, 0x91, 1, 0x91, 31]);
    assert_eq!(
        subscribe(&mut device, &peer(1), ObjectId::new(DEVICE, 1001), Some(0), Some(60), 0)[0].apdu,
        [0x50, 7, 5, 0x91, 5, 0x91, 43]
    );
    for port in 0..1000 {
        assert_eq!(subscribe(&mut device, &peer(port), MSV, Some(0), None, 0)[0].apdu, [0x20, 7, 5]);
    }
    assert_eq!(subscribe(&mut device, &peer(1001), MSV, Some(0), None, 0)[0].apdu, [0x50, 7, 5, 0x91, 3, 0x91, 19]);
}

#[test]
fn a_write_is_told_at_once() {
    let mut device = device();
    subscribe(&mut device, &peer(1), AO, Some(0), None, 0);
    let mut body = Vec::new();
    push_context_object(&mut body, 0, AO);
    push_context_unsigned(&mut body, 1, PRESENT_VALUE);
    push_inside(&mut body, 3, &encoded(&[Value::Real(33.0)]));
    let sent = device.answer(&peer(2), &[&[0, 5, 8, 15][..], &body].concat(), 10);
    assert_eq!(sent.iter().map(|sent| sent.to.address.port()).collect::<Vec<_>>(), [2, 1]);
}

proptest! {
    #[test]
    fn no_message_makes_a_device_panic(head in prop::sample::select(vec![0x00u8, 0x02, 0x08, 0x10, 0x20, 0x30, 0x70, 0xF0]),
                                       service in 0u8..40, body in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut device = device();
        let apdu = [&[head, 5, 1, service][..], &body].concat();
        for sent in device.answer(&peer(1), &apdu, 0) {
            prop_assert!(sent.apdu.len() <= 1476);
        }
        let _ = device.answer(&peer(1), &body, 0);
        let _ = device.measure([], u64::MAX / 2);
    }
}
