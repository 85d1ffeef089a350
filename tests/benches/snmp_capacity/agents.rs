//! The agents that are read: one process, a UDP socket for each.

use std::time::Instant;

use anyhow::Result;
use pattoo_tests::agent::{Objects, answer, number, text};
use tokio::net::UdpSocket;

const COUNTER64: u8 = 0x46;
const GAUGE32: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const SYS_UPTIME: [u32; 9] = [1, 3, 6, 1, 2, 1, 1, 3, 0];
const TABLE: [u32; 9] = [1, 3, 6, 1, 4, 1, 99_999, 1, 1];
const MAX_REQUEST_BYTES: usize = 2_048;

/// Whether this column counts; the others are gauges.
pub(crate) fn is_counter(column: u32) -> bool {
    column.is_multiple_of(2)
}

/// Serves so many agents until killed, of which the last ones take requests and say nothing; prints their ports in one line.
pub(crate) fn serve(count: usize, silent: usize, columns: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ports = Vec::new();
        let mut mute = Vec::new();
        for agent in 0..count {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            ports.push(socket.local_addr()?.port());
            if agent + silent < count {
                tokio::spawn(listen(socket, columns));
            } else {
                mute.push(socket);
            }
        }
        println!("listening {}", serde_json::to_string(&ports)?);
        std::future::pending().await
    })
}

async fn listen(socket: UdpSocket, columns: u32) {
    let start = Instant::now();
    let mut objects = Objects::new();
    let cell = |column: u32| [TABLE.as_slice(), &[column, 1]].concat();
    objects.insert(cell(1), text("port1"));
    let mut bytes = [0; MAX_REQUEST_BYTES];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        let hundredths = start.elapsed().as_millis() as u64 / 10;
        objects.insert(SYS_UPTIME.to_vec(), number(TIME_TICKS, hundredths));
        for column in 1..=columns {
            let value =
                if is_counter(column) { number(COUNTER64, (1 << 40) + hundredths * u64::from(column)) } else { number(GAUGE32, 230) };
            objects.insert(cell(column + 1), value);
        }
        if let Some(answer) = answer(&bytes[..length], &objects) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
