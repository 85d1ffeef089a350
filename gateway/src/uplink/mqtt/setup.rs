//! From the configuration of the uplink to the options of the MQTT client. Connects nothing.

use pattoo_wire::topic;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill;

use super::ends::Ends;
use crate::broker::{self, SetupError};
use crate::config::{Broker, Uplink};

/// Largest MQTT packet in both directions, in bytes: twice the largest schema.
const MAX_PACKET_BYTES: u32 = 3 << 20;

/// Room in the client's queue beside the window: schemas and status documents.
const SPARE_QUEUE: usize = 64;

/// Messages that the client queues: the window, a schema for each, and the spare room.
pub(super) fn queue_len(max_unacknowledged: usize) -> usize {
    2 * max_unacknowledged + SPARE_QUEUE
}

/// What it takes to connect to each broker, in their order.
pub(super) fn options(gateway: &str, uplink: &Uplink, last_will: &[u8], ends: &mut Ends) -> Result<Vec<MqttOptions>, SetupError> {
    uplink.brokers.iter().map(|broker| options_for(gateway, uplink, broker, last_will.to_vec(), ends)).collect()
}

fn options_for(gateway: &str, uplink: &Uplink, broker: &Broker, will: Vec<u8>, ends: &mut Ends) -> Result<MqttOptions, SetupError> {
    let mut options = broker::options(format!("pattoo-{gateway}"), broker, MAX_PACKET_BYTES, ends.of(broker))?;
    let inflight = u16::try_from(queue_len(uplink.max_unacknowledged)).unwrap_or(u16::MAX);
    options.set_outgoing_inflight_upper_limit(inflight).set_last_will(LastWill::new(
        topic::status(gateway),
        will,
        QoS::AtLeastOnce,
        true,
        None,
    ));
    Ok(options)
}
