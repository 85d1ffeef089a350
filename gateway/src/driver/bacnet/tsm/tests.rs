use super::super::guard::{MAX_APDU, Station};
use super::*;

const READ: u8 = 12;

fn peer(mac: u8) -> Peer {
    Peer { address: ([10, 0, 0, 7], 47_808).into(), station: Some(Station { network: 5, mac: vec![mac] }) }
}

fn begin(all: &mut Transactions, retries: u32) -> u8 {
    all.begin(&peer(1), READ, retries, 200, |invoke| vec![invoke]).unwrap().0
}

fn ack(invoke: u8, body: &[u8]) -> Message {
    Message::ComplexAck { invoke, service: READ, segment: None, body: body.to_vec() }
}

fn segment(invoke: u8, number: u8, more: bool) -> Message {
    let segment = Some(Segment { number, window: 3, more });
    Message::ComplexAck { invoke, service: READ, segment, body: vec![number; 2] }
}

#[test]
fn an_answer_belongs_to_the_question_of_its_device_number_and_service() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 0);
    assert_eq!(invoke, 200, "numbers begin where they are told to");
    for (from, message, miss) in [
        (peer(2), ack(invoke, &[1]), "answer to nothing"),
        (peer(1), ack(invoke + 1, &[1]), "answer to nothing"),
        (peer(1), Message::ComplexAck { invoke, service: 14, segment: None, body: vec![1] }, "answer to another service"),
    ] {
        assert_eq!(all.hear(&from, message).miss, Some(miss));
        assert_eq!(all.take(&peer(1), invoke), None);
    }
    assert_eq!(all.hear(&peer(1), ack(invoke, &[7])), Heard { moved: Some(invoke), ..Heard::default() });
    assert_eq!(all.hear(&peer(1), ack(invoke, &[8])).miss, Some("duplicate reply"), "before anybody took the first");
    assert_eq!(all.take(&peer(1), invoke), Some(Answer::Body(vec![7])));
    assert_eq!(all.hear(&peer(1), ack(invoke, &[8])).miss, Some("duplicate reply"));
}

#[test]
fn a_question_is_asked_again_under_its_number_and_a_late_answer_is_never_taken_for_another() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 2);
    assert_eq!(all.overdue(&peer(1), invoke), Overdue::Send(vec![invoke]));
    assert_eq!(all.overdue(&peer(1), invoke), Overdue::Send(vec![invoke]));
    assert_eq!(all.overdue(&peer(1), invoke), Overdue::Over(None));
    let next = begin(&mut all, 2);
    assert_ne!(next, invoke);
    assert_eq!(all.hear(&peer(1), ack(invoke, &[7])).miss, Some("late reply"));
    assert_eq!(all.take(&peer(1), next), None);
    all.drop(&peer(1), next);
    assert_eq!(all.hear(&peer(1), ack(next, &[7])), Heard::default(), "nobody waits, and nothing went wrong");
}

#[test]
fn a_number_is_not_used_again_while_its_answer_may_still_come() {
    let mut all = Transactions::default();
    let mut last = Vec::new();
    for _ in 0..1_000 {
        let invoke = begin(&mut all, 0);
        assert!(!last.contains(&invoke));
        all.overdue(&peer(1), invoke);
        last.push(invoke);
        if last.len() > QUARANTINE {
            last.remove(0);
        }
    }
    let open: Vec<u8> = std::iter::from_fn(|| all.begin(&peer(1), READ, 0, 0, |_| Vec::new())).map(|(invoke, _)| invoke).collect();
    assert_eq!(open.len(), 256 - QUARANTINE, "and all of them at once are not too many");
}

#[test]
fn every_kind_of_answer_ends_its_question() {
    let refusal = Some(Refusal { class: 2, code: 300 });
    for (message, answer) in [
        (Message::SimpleAck { invoke: 200, service: READ }, Answer::Done),
        (Message::Error { invoke: 200, service: READ, refusal }, Answer::Refused(refusal)),
        (Message::Reject { invoke: 200, reason: 9 }, Answer::Rejected(9)),
        (Message::Abort { invoke: 200, reason: 4 }, Answer::Aborted(4)),
    ] {
        let mut all = Transactions::default();
        let invoke = begin(&mut all, 0);
        all.hear(&peer(1), message);
        assert_eq!(all.take(&peer(1), invoke), Some(answer));
    }
}

/// What is sent after each of these segments, as (number, in order), until the answer is whole.
fn acks(all: &mut Transactions, invoke: u8, numbers: &[(u8, bool)]) -> Vec<Option<(u8, bool)>> {
    let sent = |heard: Heard| heard.send.map(|bytes| (bytes[2], bytes[0] & 0x02 == 0));
    numbers.iter().map(|(number, more)| sent(all.hear(&peer(1), segment(invoke, *number, *more)))).collect()
}

#[test]
fn segments_are_acknowledged_by_windows_and_put_together() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 2);
    let sent = acks(&mut all, invoke, &[(0, true), (1, true), (2, true), (3, true), (4, true), (5, false)]);
    assert_eq!(sent, [Some((0, true)), None, None, Some((3, true)), None, Some((5, true))]);
    assert_eq!(all.take(&peer(1), invoke), Some(Answer::Body(vec![0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])));
    let again = all.hear(&peer(1), segment(invoke, 5, false));
    assert!(again.send.is_some() && again.miss.is_some(), "the device did not hear that all of it has come");
}

#[test]
fn a_segment_that_is_lost_is_asked_for_once_and_comes_again() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 2);
    let sent = acks(&mut all, invoke, &[(0, true), (2, true), (3, true), (1, true), (2, true), (3, true)]);
    assert_eq!(sent, [Some((0, true)), Some((0, false)), None, None, None, Some((3, true))]);
    // The same segment twice; one that came long ago.
    assert_eq!(acks(&mut all, invoke, &[(3, true), (1, true), (4, false)]), [Some((3, true)), None, Some((4, true))]);
    assert_eq!(all.take(&peer(1), invoke), Some(Answer::Body(vec![0, 0, 1, 1, 2, 2, 3, 3, 4, 4])));
}

#[test]
fn after_silence_only_the_rest_is_asked_for_and_in_the_end_the_device_is_told() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 1);
    acks(&mut all, invoke, &[(0, true), (1, true)]);
    assert_eq!(all.segments(&peer(1), invoke), 2);
    let Overdue::Send(again) = all.overdue(&peer(1), invoke) else { panic!() };
    assert_eq!((again[0] >> 4, again[2], again[0] & 0x02), (4, 1, 0x02), "a negative word about segment 1");
    let Overdue::Over(Some(last)) = all.overdue(&peer(1), invoke) else { panic!() };
    assert_eq!(last[0] >> 4, 7, "broken off");
}

#[test]
fn an_answer_of_too_many_segments_is_broken_off() {
    let mut all = Transactions::default();
    let invoke = begin(&mut all, 2);
    let long = vec![0; usize::from(MAX_APDU) + 5];
    for number in 0..=u8::try_from(MAX_SEGMENTS).unwrap() {
        let segment = Some(Segment { number, window: 1, more: true });
        let heard = all.hear(&peer(1), Message::ComplexAck { invoke, service: READ, segment, body: long.clone() });
        let over = usize::from(number) == MAX_SEGMENTS;
        assert_eq!(heard.send.map(|bytes| bytes[0] >> 4), Some(if over { 7 } else { 4 }), "{number}");
    }
    assert_eq!(all.take(&peer(1), invoke), Some(Answer::TooLong));
}

/// A device of another window, or a hostile one.
#[test]
fn a_window_of_nothing_or_of_everything_is_cut_to_what_this_side_takes() {
    for (window, expected) in [(0, 1), (1, 1), (200, WINDOW)] {
        let mut all = Transactions::default();
        let invoke = begin(&mut all, 0);
        let segment = Some(Segment { number: 0, window, more: true });
        let heard = all.hear(&peer(1), Message::ComplexAck { invoke, service: READ, segment, body: vec![] });
        assert_eq!(heard.send.map(|bytes| bytes[3]), Some(expected), "{window}");
    }
}
