//! Broker, ingest and embedded store in one process, with a gateway played by an MQTT client.
