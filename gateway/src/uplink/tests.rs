use std::collections::VecDeque;

use pattoo_wire::Echo;

use super::*;

mod world;

const WINDOW: usize = 4;
const TIMEOUT_MS: i64 = 1000;
const NONE: [u64; 0] = [];
/// Bytes of every batch here.
const BATCH_BYTES: u64 = 100;

fn stats(oldest: u64, next: u64) -> Stats {
    Stats { stream: 7, kept: oldest, oldest, next, batches: next - oldest, ..Stats::default() }
}

fn policy(order: Order) -> Policy {
    Policy {
        max_unacknowledged: WINDOW,
        ack_timeout: Duration::from_millis(TIMEOUT_MS as u64),
        order,
        backfill_percent: 50,
        rate_limit: None,
        has_choice: false,
    }
}

fn uplink(order: Order, stats: Stats) -> Uplink {
    Uplink::new(policy(order), stats)
}

/// Steps, answers each fetch at once with schema `seq / 10`, and gives what else was to be done.
fn drive(uplink: &mut Uplink, now_ms: i64, event: Event) -> Vec<Action> {
    let actions = uplink.step(now_ms, event);
    rest(uplink, now_ms, actions)
}

/// Connects to a server that answers the hello before the first batch is at hand.
fn connect(uplink: &mut Uplink, now_ms: i64) -> Vec<Action> {
    let mut actions = uplink.step(now_ms, Event::Connected);
    actions.extend(uplink.step(now_ms, ask(now_ms as u64, &[], &[])));
    rest(uplink, now_ms, actions)
}

fn rest(uplink: &mut Uplink, now_ms: i64, actions: Vec<Action>) -> Vec<Action> {
    let mut done = Vec::new();
    let mut waiting = VecDeque::from(actions);
    while let Some(action) = waiting.pop_front() {
        match action {
            Action::Fetch { seq } => {
                let fetched = Event::Fetched { seq, schema: SchemaId(seq as u32 / 10), bytes: BATCH_BYTES };
                waiting.extend(uplink.step(now_ms, fetched));
            }
            other => done.push(other),
        }
    }
    done
}

/// The numbers of the batches that went out.
fn batches(actions: Vec<Action>) -> Vec<u64> {
    actions.into_iter().filter_map(|action| if let Action::Publish { seq } = action { Some(seq) } else { None }).collect()
}

/// What goes out when the broker takes one and the server acknowledges all up to `seq`.
fn after(uplink: &mut Uplink, now_ms: i64, seq: u64) -> Vec<u64> {
    let mut out = batches(drive(uplink, now_ms, Event::Taken));
    out.extend(batches(drive(uplink, now_ms, ack(seq))));
    out
}

fn ack(seq: u64) -> Event {
    ahead(seq, &[])
}

fn ahead(seq: u64, ahead: &[(u64, u64)]) -> Event {
    Event::Ack(Ack { stream: 7, seq, ahead: ahead.to_vec() })
}

fn ask(sent_ms: u64, missing: &[(u64, u64)], schemas: &[u32]) -> Event {
    let echo = Some(Echo { sent_ms, time_ms: 1_800_000_000_000 });
    Event::Ask(Ask { stream: 7, echo, missing: missing.to_vec(), schemas: schemas.iter().copied().map(SchemaId).collect() })
}

fn schema(id: u32) -> Action {
    Action::PublishSchema(SchemaId(id))
}

fn publish(seq: u64) -> Action {
    Action::Publish { seq }
}

fn hello(sent_ms: i64) -> Action {
    Action::Hello { sent_ms }
}

fn release(through: u64, ahead: &[(u64, u64)]) -> Action {
    Action::Release { through, ahead: ahead.to_vec() }
}

#[test]
fn in_the_order_of_numbers_each_goes_out_behind_its_schema_and_the_window_holds() {
    let mut uplink = uplink(Order::OldestFirst, stats(8, 20));
    assert_eq!(drive(&mut uplink, 0, Event::Tick), []);
    let first = [hello(0), schema(0), publish(8), publish(9), schema(1), publish(10), publish(11)];
    assert_eq!(drive(&mut uplink, 0, Event::Connected), first);
    assert_eq!((uplink.unacknowledged(), uplink.unsent()), (4, 8));
    // The client still has all in its hand: the window waits for the broker too.
    assert_eq!(drive(&mut uplink, 1, ack(9)), [release(9, &[])]);
    assert_eq!(drive(&mut uplink, 1, Event::Taken), [publish(12)]);
    assert_eq!(drive(&mut uplink, 1, Event::Taken), [publish(13)]);
    assert_eq!(drive(&mut uplink, 1, ack(9)), []);
    // A new connection knows no schema and starts from the oldest.
    drive(&mut uplink, 2, Event::Disconnected);
    assert_eq!(drive(&mut uplink, 3, Event::Connected), [hello(3), schema(1), publish(10), publish(11), publish(12), publish(13)]);
    assert_eq!(uplink.counters().resends, 4);
}

#[test]
fn what_is_new_goes_at_once_and_what_had_to_wait_has_half_of_the_places() {
    for (order, waited) in [(Order::LiveFirst, [1, 2, 3]), (Order::NewestFirst, [1, 99, 98])] {
        let mut uplink = uplink(order, stats(1, 100));
        assert_eq!(batches(connect(&mut uplink, 0)), waited[..2]);
        // New ones find two places free.
        let new = |next| Event::Buffer(stats(1, next));
        assert_eq!(batches(drive(&mut uplink, 1, new(101))), [100]);
        assert_eq!(batches(drive(&mut uplink, 1, new(102))), [101]);
        assert_eq!(batches(drive(&mut uplink, 1, new(103))), NONE);
        for _ in 0..WINDOW {
            assert_eq!(drive(&mut uplink, 1, Event::Taken), []);
        }
        // Both wait, and take turns.
        let arrived = if order == Order::LiveFirst { ack(2) } else { ahead(1, &[(99, 99)]) };
        assert_eq!(batches(drive(&mut uplink, 2, arrived)), [102, waited[2]]);
        assert_eq!(batches(drive(&mut uplink, 3, Event::Disconnected)), NONE);
    }
}

#[test]
fn a_server_that_does_not_answer_the_hello_gets_all_in_the_order_of_numbers() {
    let mut uplink = uplink(Order::NewestFirst, stats(1, 100));
    assert_eq!(batches(drive(&mut uplink, 0, Event::Connected)), [1, 2, 3, 4]);
    drive(&mut uplink, 1, Event::Buffer(stats(1, 101)));
    for seq in 1..=90 {
        assert_eq!(after(&mut uplink, 1, seq), [seq + 4]);
    }
}

#[test]
fn what_is_new_and_does_not_get_through_becomes_backlog() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 1));
    connect(&mut uplink, 0);
    for next in 2..=20 {
        drive(&mut uplink, 0, Event::Buffer(stats(1, next)));
    }
    assert_eq!(uplink.unacknowledged(), 4, "1 to 4");
    drive(&mut uplink, 0, Event::Taken);
    assert_eq!(batches(drive(&mut uplink, 0, ack(1))), [19], "the newest");
    assert_eq!(after(&mut uplink, 0, 2), NONE, "3 and 4 have the places of the backlog");
    assert_eq!(after(&mut uplink, 0, 3), [5]);
}

#[test]
fn ranges_ahead_are_released_and_never_more_than_an_acknowledgement_can_name() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 1000));
    let mut arrived: Vec<(u64, u64)> = Vec::new();
    let mut next = 1000;
    // The link comes and goes: each time one new batch gets through and the backlog does not, but for the first.
    for round in 0..60 {
        connect(&mut uplink, round);
        next += 1;
        let out = batches(drive(&mut uplink, round, Event::Buffer(stats(1, next))));
        if out == [next - 1] {
            arrived.push((next - 1, next - 1));
            assert_eq!(drive(&mut uplink, round, ahead(0, &arrived))[0], release(0, &[(next - 1, next - 1)]));
        } else {
            // As many ranges as there may be: what goes out joins them.
            assert!(out.iter().all(|seq| *seq <= 4), "{out:?}");
        }
        next += 1;
        drive(&mut uplink, round, Event::Disconnected);
        drive(&mut uplink, round, Event::Buffer(stats(1, next)));
    }
    assert_eq!(arrived.len(), pattoo_wire::MAX_ACK_RANGES - 1, "with the one from the beginning");
    // What was acknowledged ahead is not sent again.
    let mut out = batches(connect(&mut uplink, 100));
    while out.last().is_some_and(|seq| *seq < next - 1) {
        let sent = *out.last().unwrap();
        out.extend(after(&mut uplink, 100, sent));
    }
    assert!(arrived.iter().all(|(seq, _)| !out.contains(seq)));
    assert_eq!(out.len() as u64, next - 1 - arrived.len() as u64);
}

#[test]
fn acknowledgements_of_another_life_or_of_the_future_release_nothing() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 3));
    drive(&mut uplink, 0, Event::Connected);
    assert_eq!(drive(&mut uplink, 0, Event::Ack(Ack::through(8, 2))), []);
    for event in [ack(3), ack(u64::MAX), ahead(1, &[(3, 3)]), ahead(0, &[(2, u64::MAX)])] {
        assert_eq!(drive(&mut uplink, 0, event), []);
    }
    assert_eq!(uplink.counters(), Counters { foreign: 1, impossible_acks: 4, ..Counters::default() });
    assert_eq!(uplink.unacknowledged(), 2);
}

#[test]
fn silence_sends_all_again_and_is_borne_longer_each_time() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 3));
    assert_eq!(drive(&mut uplink, 0, Event::Connected).len(), 4);
    for _ in 0..2 {
        drive(&mut uplink, 0, Event::Taken);
    }
    let mut now_ms = 0;
    for patience in [1, 2, 4, 8, 16] {
        now_ms += patience * TIMEOUT_MS;
        assert_eq!(drive(&mut uplink, now_ms - 1, Event::Tick), []);
        assert_eq!(batches(drive(&mut uplink, now_ms, Event::Tick)), [1, 2]);
        for _ in 0..2 {
            drive(&mut uplink, now_ms, Event::Taken);
        }
    }
    for patience in [32, 32] {
        now_ms += patience * TIMEOUT_MS;
        assert_eq!(batches(drive(&mut uplink, now_ms - 1, Event::Tick)), NONE);
        assert_eq!(batches(drive(&mut uplink, now_ms, Event::Tick)), [1, 2]);
        for _ in 0..2 {
            drive(&mut uplink, now_ms, Event::Taken);
        }
    }
    drive(&mut uplink, now_ms, ack(1));
    assert_eq!(batches(drive(&mut uplink, now_ms + TIMEOUT_MS, Event::Tick)), [2]);
    // With nothing out there is nothing to be silent about.
    drive(&mut uplink, now_ms, ack(2));
    assert_eq!(batches(drive(&mut uplink, now_ms + 1_000_000, Event::Tick)), NONE);
}

#[test]
fn a_batch_that_was_overtaken_is_sent_again_alone() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 2));
    drive(&mut uplink, 0, Event::Connected);
    for (now_ms, seq) in [(1, 2), (TIMEOUT_MS, 3), (TIMEOUT_MS + 1, 4)] {
        drive(&mut uplink, now_ms, Event::Buffer(stats(1, seq + 1)));
        drive(&mut uplink, now_ms, Event::Taken);
    }
    assert_eq!(batches(drive(&mut uplink, TIMEOUT_MS + 1, ahead(0, &[(2, 3)]))), NONE, "may still come");
    assert_eq!(batches(drive(&mut uplink, TIMEOUT_MS + 1, ahead(0, &[(2, 4)]))), [1], "sent a time-out before 4, which has arrived");
    assert_eq!(uplink.counters().resends, 1);
}

#[test]
fn a_broker_that_takes_nothing_is_left() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 3));
    drive(&mut uplink, 0, Event::Connected);
    drive(&mut uplink, 0, Event::Taken);
    assert_eq!(drive(&mut uplink, TIMEOUT_MS, Event::Tick), [Action::Reconnect { silent: false }]);
}

#[test]
fn where_there_is_a_choice_a_broker_over_which_the_server_is_not_heard_is_left() {
    let mut uplink = Uplink::new(Policy { has_choice: true, ..policy(Order::LiveFirst) }, stats(1, 2));
    let mut now_ms = 0;
    drive(&mut uplink, now_ms, Event::Connected);
    for patience in [1, 2] {
        drive(&mut uplink, now_ms, Event::Taken);
        now_ms += patience * TIMEOUT_MS;
        assert_eq!(drive(&mut uplink, now_ms, Event::Tick), [publish(1)]);
    }
    drive(&mut uplink, now_ms, Event::Taken);
    now_ms += 4 * TIMEOUT_MS;
    assert_eq!(drive(&mut uplink, now_ms, Event::Tick), [Action::Reconnect { silent: true }]);
    // The next one is given some time.
    drive(&mut uplink, now_ms, Event::Disconnected);
    drive(&mut uplink, now_ms, Event::Connected);
    drive(&mut uplink, now_ms, Event::Taken);
    assert_eq!(drive(&mut uplink, now_ms + 8 * TIMEOUT_MS - 1, Event::Tick), []);
    assert_eq!(drive(&mut uplink, now_ms + 8 * TIMEOUT_MS - 1, ack(1)), [release(1, &[])]);
}

#[test]
fn another_life_of_the_buffer_starts_from_its_own_oldest() {
    let mut uplink = uplink(Order::LiveFirst, stats(5, 8));
    drive(&mut uplink, 0, Event::Connected);
    let other = Stats { stream: 8, kept: 1, oldest: 1, next: 2, ..Stats::default() };
    assert_eq!(drive(&mut uplink, 0, Event::Buffer(other)), [publish(1)]);
    assert_eq!(drive(&mut uplink, 0, ack(1)), []);
    assert_eq!(drive(&mut uplink, 0, ask(0, &[(1, 1)], &[0])), []);
    assert_eq!(uplink.counters().foreign, 2);
}

#[test]
fn it_says_hello_on_each_connection_and_every_minute_and_passes_on_the_time_once() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 1));
    assert_eq!(drive(&mut uplink, 5, Event::Connected), [hello(5)]);
    let time = |sent_ms| Action::Time { sent_ms, time_ms: 1_800_000_000_000 };
    assert_eq!(drive(&mut uplink, 9, ask(5, &[], &[])), [time(5)]);
    assert_eq!(drive(&mut uplink, 9, ask(5, &[], &[])), [], "the same again");
    assert_eq!(drive(&mut uplink, 5 + HELLO_EVERY_MS - 1, Event::Tick), []);
    assert_eq!(drive(&mut uplink, 5 + HELLO_EVERY_MS, Event::Tick), [hello(5 + HELLO_EVERY_MS)]);
    assert_eq!(drive(&mut uplink, 5 + HELLO_EVERY_MS, ask(5, &[], &[])), [], "the answer to an older one");
    assert_eq!(drive(&mut uplink, 6 + HELLO_EVERY_MS, ask(u64::MAX, &[], &[])), [], "what was never asked");
    drive(&mut uplink, 70_000, Event::Disconnected);
    assert_eq!(drive(&mut uplink, 10_000_000, Event::Tick), [], "nobody hears it");
}

#[test]
fn the_server_gets_again_what_it_asks_for_and_what_is_on_its_way_it_gets_once() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 21));
    connect(&mut uplink, 0);
    assert_eq!(uplink.unacknowledged(), 2, "1 and 2");
    assert_eq!(drive(&mut uplink, 1, ask(0, &[(1, 20)], &[3])), [schema(3)], "sent after the hello");
    let mut out = Vec::new();
    for seq in 1..=20 {
        out.extend(after(&mut uplink, 2, seq));
        // What is released stays readable for a while.
        drive(&mut uplink, 2, Event::Buffer(Stats { kept: (seq + 1).min(5), oldest: seq + 1, ..stats(seq, 21) }));
    }
    assert_eq!(out, (3..=20).collect::<Vec<_>>());
    // Restored from a backup, it knows 1 to 7 and 9.
    drive(&mut uplink, 2 + HELLO_EVERY_MS, Event::Tick);
    let again = batches(drive(&mut uplink, 2 + HELLO_EVERY_MS, ask(2 + HELLO_EVERY_MS as u64, &[(1, 3), (8, 8), (10, 99)], &[])));
    assert_eq!(again, [8, 10], "below 5 there is nothing to read");
    assert_eq!(uplink.counters().asked, 12);
    drive(&mut uplink, 2 + HELLO_EVERY_MS, Event::Taken);
    assert_eq!(drive(&mut uplink, 2 + HELLO_EVERY_MS, ack(9)), [schema(1), publish(11)][1..], "its acknowledgement starts from there");
}

#[test]
fn what_cannot_be_had_now_does_not_hold_up_the_rest_and_what_is_gone_is_passed_over() {
    let mut uplink = uplink(Order::LiveFirst, stats(1, 4));
    let fetch = |seq| Action::Fetch { seq };
    assert_eq!(uplink.step(0, Event::Connected), [hello(0), fetch(1)]);
    uplink.step(0, ask(0, &[], &[]));
    assert_eq!(uplink.step(0, Event::Missing { seq: 1, gone: false }), []);
    assert_eq!(uplink.step(0, Event::Taken), [], "not at once");
    assert_eq!(uplink.step(0, Event::Buffer(stats(1, 5))), [fetch(4)], "what is new");
    assert_eq!(uplink.step(0, Event::Missing { seq: 4, gone: false }), [fetch(1)]);
    assert_eq!(uplink.step(0, Event::Missing { seq: 1, gone: true }), [fetch(2)]);
    assert_eq!(uplink.step(0, Event::Missing { seq: 2, gone: false }), []);
    assert_eq!(uplink.step(500, Event::Tick), [fetch(2)], "they take turns");
}

#[test]
fn a_rate_limit_holds_and_what_is_new_goes_first_within_it() {
    let mut limited = Uplink::new(Policy { rate_limit: Some(200), max_unacknowledged: 1000, ..policy(Order::LiveFirst) }, stats(1, 1000));
    let mut out = batches(connect(&mut limited, 0));
    assert_eq!(out, [1, 2], "a second's worth");
    for second in 1..=10 {
        let next = 1000 + second;
        let step = batches(drive(&mut limited, second as i64 * 1000 - 999, Event::Buffer(stats(1, next))));
        assert!(step.len() <= 1);
        out.extend(step);
        for tick in [500, 1000] {
            out.extend(batches(drive(&mut limited, second as i64 * 1000 - 1000 + tick, Event::Tick)));
        }
        assert!(out.contains(&(next - 1)), "{} is not out in its second: {out:?}", next - 1);
    }
    assert!((20..=23).contains(&out.len()), "{} batches of {BATCH_BYTES} bytes in 10 s at 200 bytes a second", out.len());
    // Other messages count as well.
    limited.spend(1000);
    assert_eq!(batches(drive(&mut limited, 14_500, Event::Tick)), NONE);
    assert!(!batches(drive(&mut limited, 16_000, Event::Tick)).is_empty());
}
