//! A link to VictoriaMetrics that says of each answer that it is of a part of a cluster: no cluster is at hand whose member could be away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

/// A single binary never says it. In place of the status, which says no more than that of HTTP.
const STATUS: &[u8] = br#""status":"success""#;
/// As long, so that the length of the answer stays true.
const PART: &[u8] = br#""isPartial":true  "#;

/// The link; its threads end with its connections.
pub struct Partial {
    /// Where it listens.
    pub at: SocketAddr,
    changed: Arc<AtomicUsize>,
}

impl Partial {
    /// Leads to a VictoriaMetrics.
    ///
    /// # Errors
    /// No port can be had.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (at, changed) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let counted = changed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                std::thread::spawn(move || relay(from, to, None));
                let counted = counted.clone();
                std::thread::spawn(move || relay(server, client, Some(&counted)));
            }
        });
        Ok(Self { at, changed })
    }

    /// How many answers it changed.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, changed: Option<&AtomicUsize>) {
    let (mut buffer, mut held) = (vec![0; 1 << 16], Vec::new());
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        held.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if let Some(changed) = changed {
            while let Some(at) = held.windows(STATUS.len()).position(|bytes| bytes == STATUS) {
                held.splice(at..at + STATUS.len(), PART.iter().copied());
                changed.fetch_add(1, Ordering::Relaxed);
            }
        }
        // What may be the beginning of one waits for its end.
        let begun = (1..STATUS.len()).rev().find(|len| changed.is_some() && held.ends_with(STATUS.get(..*len).unwrap_or_default()));
        let whole: Vec<u8> = held.drain(..held.len() - begun.unwrap_or(0)).collect();
        if to.write_all(&whole).is_err() {
            break;
        }
    }
    let _ = to.write_all(&held);
    let _ = to.shutdown(Shutdown::Write);
}
