//! A real socket with real clients.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pattoo_wire::{Reason, Sample, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::door::MAX_CLIENTS;
use super::*;
use crate::config::Transport;
use crate::lines::readings;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    folder: tempfile::TempDir,
    config: Config,
    driver: Inputs,
}

impl Site {
    fn path(&self) -> PathBuf {
        self.folder.path().join("in.sock")
    }

    async fn client(&mut self) -> UnixStream {
        let path = self.path();
        let connect = async {
            loop {
                // It is there once it was heard at for the first time.
                let _ = timeout(Duration::from_millis(5), self.driver.hear(&self.config)).await;
                if let Ok(stream) = UnixStream::connect(&path).await {
                    return stream;
                }
            }
        };
        timeout(PATIENCE, connect).await.expect("somebody listens")
    }

    /// Hears until so many readings came, in calls that are dropped again and again.
    async fn hear(&mut self, count: usize) -> Vec<(usize, String, Sample)> {
        let mut all = Vec::new();
        let wait = async {
            while all.len() < count {
                let Ok(heard) = timeout(Duration::from_millis(3), self.driver.hear(&self.config)).await else { continue };
                for transaction in heard.transactions {
                    let device = transaction.device.0;
                    all.extend(transaction.readings.into_iter().map(|r| (device, r.row.unwrap().point.clone().unwrap(), r.sample)));
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("it is bounded");
        all
    }

    /// A line that the driver writes to a client.
    async fn answer(&mut self, client: &mut BufReader<UnixStream>) -> String {
        let mut line = String::new();
        let wait = async {
            loop {
                tokio::select! {
                    _ = self.driver.hear(&self.config) => {}
                    read = client.read_line(&mut line) => return read.unwrap(),
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("an answer");
        line
    }
}

fn site(devices: &str, mode: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let text = format!(
        "gateway: g\nuplink: {{ url: mqtt://127.0.0.1 }}\nlinks: {{ in: {{ socket: {}, mode: '{mode}' }} }}\ndevices: [{devices}]\n",
        path.display()
    );
    let (config, problems) = crate::config::read_for_test(&text, (*readings()).clone());
    assert_eq!(problems, []);
    let config = config.unwrap();
    let Transport::Input(input) = config.links[0].transport.clone() else { panic!("{:?}", config.links) };
    let driver = Inputs::new(*input, super::super::boot_clock());
    Site { folder, config, driver }
}

fn two() -> Site {
    site("{ name: a, link: in }, { name: b, link: in, stale_after: 1s }", "0640")
}

fn good(device: usize, name: &str, number: f64) -> (usize, String, Sample) {
    (device, name.to_owned(), Sample::Good(Value::F64(number)))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn several_clients_tell_readings_and_hear_what_is_wrong_with_theirs() {
    let mut site = two();
    let (mut one, mut other) = (BufReader::new(site.client().await), BufReader::new(site.client().await));
    assert_eq!(mode(&site.path()), 0o640);
    one.write_all(b"{\"point\":\"x\",\"device\":\"a\",\"value\":1}\nm,device=b f=2\nm,dev").await.unwrap();
    assert_eq!(site.hear(2).await, [good(0, "x", 1.0), good(1, "m.f", 2.0)]);
    other.write_all(b"m,device=a f=3\nm f=4\n").await.unwrap();
    assert_eq!(site.hear(1).await, [good(0, "m.f", 3.0)]);
    assert_eq!(site.answer(&mut other).await, "line 2, column 3: found no device, expected one of a, b\n");
    one.write_all(b"ice=a f=5\n\n# nothing\n{").await.unwrap();
    one.shutdown().await.unwrap();
    assert_eq!(site.hear(1).await, [good(0, "m.f", 5.0)], "the line came in two parts");
    let wrong = site.answer(&mut one).await;
    assert_eq!(
        wrong, "line 6, column 1: found the end of the line: EOF while parsing an object\n",
        "of the last line too, which nothing ends"
    );
    other.write_all(b"m,device=elsewhere f=1\n").await.unwrap();
    let refused = site.answer(&mut other).await;
    assert_eq!(refused, "line 3, column 20: found the device `elsewhere`, expected one that is configured here: a, b\n");
    let misses = site.driver.waiting(&site.config.devices[0]).misses;
    assert_eq!(misses, [("bad line", 1), ("unknown device", 2)].into());
    // Only the one that may not be silent is said to be.
    assert_eq!(site.hear(1).await, [(1, "m.f".to_owned(), Sample::Bad(Reason::Stale))]);
}

#[tokio::test]
async fn a_client_that_does_not_read_what_is_wrong_and_one_that_floods_hold_up_nobody() {
    let mut site = two();
    let (mut deaf, mut other) = (site.client().await, site.client().await);
    let flood = "wrong\n".repeat(20_000);
    let write = async {
        deaf.write_all(flood.as_bytes()).await.unwrap();
        other.write_all(b"m,device=a f=1\n").await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = write => {}
        heard = site.hear(1) => assert_eq!(heard, [good(0, "m.f", 1.0)]),
    }
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_takes_that_of_the_most_silent_one() {
    let mut site = site("{ name: a, link: in }", "0660");
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS {
        clients.push(site.client().await);
    }
    clients[0].write_all(b"m f=1\n").await.unwrap();
    site.hear(1).await;
    let mut late = site.client().await;
    late.write_all(b"m f=2\n").await.unwrap();
    assert_eq!(site.hear(1).await, [good(0, "m.f", 2.0)]);
    assert_eq!(site.driver.waiting(&site.config.devices[0]).misses, [("client sent away", 1)].into());
    clients[0].write_all(b"m f=3\n").await.unwrap();
    assert_eq!(site.hear(1).await, [good(0, "m.f", 3.0)], "that one was not silent");
    let mut gone = BufReader::new(clients.remove(1));
    assert_eq!(site.answer(&mut gone).await, "", "that one was");
}

#[test]
fn a_message_has_so_many_lines() {
    for (payload, lines, whole) in [
        (String::new(), 0, true),
        ("m f=1".to_owned(), 1, true),
        ("x\n".repeat(bus::MAX_LINES), bus::MAX_LINES, true),
        ("x\n".repeat(bus::MAX_LINES) + "y", bus::MAX_LINES, false),
        ("\n".repeat(1 << 20), bus::MAX_LINES, false),
    ] {
        let found = bus::cut(payload.as_bytes());
        assert_eq!((found.0.len(), found.1), (lines, whole));
    }
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_nothing_else_that_has_its_name() {
    let mut site = site("{ name: a, link: in }", "0660");
    drop(std::os::unix::net::UnixListener::bind(site.path()).unwrap());
    site.client().await.write_all(b"m f=1\n").await.unwrap();
    assert_eq!(site.hear(1).await, [good(0, "m.f", 1.0)]);
    let path = site.path();
    let second = Inputs::new(
        match site.config.links[0].transport.clone() {
            Transport::Input(input) => *input,
            other => panic!("{other:?}"),
        },
        super::super::boot_clock(),
    );
    let mut second = second;
    let _ = timeout(Duration::from_millis(50), second.hear(&site.config)).await;
    drop(second);
    assert!(path.exists(), "that of a living one stays");
    drop(site.driver);
    assert!(!path.exists(), "it goes with its driver");
    std::fs::write(&path, "mine").unwrap();
    let Transport::Input(input) = site.config.links[0].transport.clone() else { panic!() };
    let mut driver = Inputs::new(*input, super::super::boot_clock());
    let _ = timeout(Duration::from_millis(50), driver.hear(&site.config)).await;
    assert_eq!(driver.waiting(&site.config.devices[0]).misses, [("disconnected", 1)].into());
    drop(driver);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}
