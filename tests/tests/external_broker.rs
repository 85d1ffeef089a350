//! The same path over a broker that we did not write: mosquitto between gateway and server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::{PATIENCE, Program};
use pattoo_tests::stack::{Stack, buffered, wait_stored};
use pattoo_tests::wait_for;

/// Mosquitto in memory on a loopback port that was free a moment ago: it cannot say which one it would take by itself.
fn start_mosquitto(stack: &Stack) -> Result<(Program, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = stack.folder().join("mosquitto.conf");
    std::fs::write(&config, format!("listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n", address.port()))?;
    // Debian puts it where only root's PATH leads.
    let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|path| std::path::Path::new(path).exists());
    let program = program.context("mosquitto is missing: tests/run installs it")?;
    let broker = Program::start("mosquitto", Command::new(program).arg("-c").arg(&config))?;
    wait_for("mosquitto to listen", PATIENCE, || TcpStream::connect(address).ok())?;
    Ok((broker, address))
}

#[test]
fn readings_reach_the_store_over_mosquitto_even_when_it_forgets_everything() -> Result<()> {
    let mut stack = Stack::new()?;
    let (mut broker, address) = start_mosquitto(&stack)?;
    stack.relay.set_target(Some(address))?;
    let server = stack.folder().join("server.yaml");
    let data = stack.folder().join("data");
    // The server goes through the relay as well, so that a restarted broker is found under the same address by both.
    std::fs::write(
        &server,
        format!("data: {}\nhttp: {{ listen: 127.0.0.1:0 }}\nbroker: {{ url: 'mqtt://{}' }}\n", data.display(), stack.relay.address()),
    )?;
    stack.start_server_with(&server)?;
    let config = stack.configure_gateway("plant7", "devices: [ { name: this-host, profile: linux-host, every: 500ms } ]\n")?;
    stack.start_gateway(&config)?;
    let api = stack.api()?;
    let arrived = |stack: &Stack| {
        let so_far = buffered(&stack.gateway.as_ref().context("it runs")?.output())?;
        ensure!(!so_far.is_empty(), "nothing is buffered yet");
        wait_stored(api, "plant7", &so_far, PATIENCE).map(|_| ())
    };
    wait_for("a batch to be buffered and stored", PATIENCE, || arrived(&stack).ok())?;

    broker.kill();
    let (_broker, address) = start_mosquitto(&stack)?;
    stack.relay.set_target(Some(address))?;
    arrived(&stack)
}
