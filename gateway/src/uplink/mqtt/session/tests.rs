use pattoo_wire::ClockSource;
use rumqttc::v5::MqttOptions;

use super::*;
use crate::buffer::memory::{Medium, Memory};
use crate::buffer::worker::{channel, serve};
use crate::buffer::{Buffer, Limits};
use crate::config::Order;
use crate::timebase::State;
use crate::uplink::mqtt::tests::closed;

const POLICY: Policy = Policy {
    max_unacknowledged: 4,
    ack_timeout: Duration::from_millis(1),
    order: Order::LiveFirst,
    backfill_percent: 20,
    rate_limit: None,
    has_choice: false,
};

/// A slow disk held the session up for longer than a server may be silent, and the acknowledgement that had come meanwhile was not
/// heard before the connection was given up.
#[tokio::test]
async fn an_acknowledgement_that_waits_in_the_inbox_is_no_silence() {
    let limits = Limits::from(&crate::config::Buffer::default());
    let buffer = Buffer::open(Memory::open(&Medium::default()), limits, 0).unwrap();
    let (handle, receiver) = channel(buffer.stats());
    std::thread::spawn(move || serve(buffer, receiver));
    handle.append(closed(0)).await.unwrap();
    let (client, _connection) = AsyncClient::new(MqttOptions::new("pattoo-plant7", "127.0.0.1", 1), 16);
    let (leave, mut left) = mpsc::channel(1);
    let state = State { source: ClockSource::Ntp, offset_ms: Some(0), ..State::default() };
    let time = super::super::Time { state: watch::channel(state).1, heard: watch::channel(None).0 };
    let outside = Outside {
        buffer: handle.clone(),
        told: Told { health: watch::channel(crate::health::Health::default()).1, warnings: watch::channel(Vec::new()).1, time },
        window: None,
        pulse: Default::default(),
    };
    let mut session = Session::new("plant7".into(), POLICY, false, client, leave, outside);

    session.step(Event::Connected).await;
    session.step(Event::Taken).await;
    assert_eq!(session.uplink.unacknowledged(), 1);
    let (pump, mut inbox) = mpsc::channel(4);
    let ack = Ack { stream: handle.stats().stream, seq: 1, ahead: Vec::new() }.encode().unwrap();
    let publish = Publish::new(session.topics.ack.clone(), QoS::AtLeastOnce, ack, None);
    assert!(pump.try_send(Up::Event(Box::new(MqttEvent::Incoming(Packet::Publish(publish))))).is_ok());
    let late_ms = clock::boot_ms() + 3;
    while clock::boot_ms() < late_ms {
        tokio::task::yield_now().await;
    }
    session.tick(&mut inbox).await;
    assert_eq!((session.uplink.unacknowledged(), left.try_recv().ok()), (0, None));
    assert_eq!(session.uplink.counters().resends, 0);
}
