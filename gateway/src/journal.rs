//! The log as journald takes it: one datagram for each line, with fields to filter by (`GATEWAY`, `DEVICE`, `LINK` and whatever else a line
//! has). Shell: a socket, the environment.
//!
//! Journald's socket makes its writer wait while journald does. So a thread of its own writes, [`write`]; what has no room in the queue to
//! it is dropped, counted, and said once there is room again.

use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Lines that wait to be written.
const MAX_LINES: usize = 1024;
/// Longest text of a line and longest value of a field, in bytes; a datagram has 200 kB at most.
const MAX_TEXT_BYTES: usize = 32 << 10;
/// Longest wait for the last lines of the program.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The name of the gateway, once it is known: on each line from then on.
static GATEWAY: OnceLock<String> = OnceLock::new();

/// Has each line bear the name of this gateway. The first one stays.
pub fn set_gateway(name: &str) {
    let _ = GATEWAY.set(name.to_owned());
}

/// What goes to the thread that writes.
pub enum Message {
    /// A datagram.
    Line(Vec<u8>),
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

/// The layer.
pub struct Journal {
    lines: SyncSender<Message>,
    dropped: AtomicU64,
}

/// Waits for what was said to be written.
#[derive(Debug, Clone)]
pub struct Flush(SyncSender<Message>);

impl Flush {
    /// At most [`FLUSH_WITHIN`].
    pub fn wait(&self) {
        let (done, is_done) = sync_channel(1);
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_WITHIN);
        }
    }
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` names its device and inode.
#[must_use]
pub fn is_standard_error() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

/// The layer, and the end to give to [`write`].
#[must_use]
pub fn layer() -> (Journal, Flush, Receiver<Message>) {
    let (lines, receiver) = sync_channel(MAX_LINES);
    (Journal { lines: lines.clone(), dropped: AtomicU64::new(0) }, Flush(lines), receiver)
}

/// Writes lines for ever. Blocks: give it a thread of its own.
pub fn write(socket: &UnixDatagram, lines: &Receiver<Message>) {
    while let Ok(message) = lines.recv() {
        match message {
            // A journal that restarts, or refuses the line: nowhere is left to say so.
            Message::Line(line) => drop(socket.send(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::new(*event.metadata().level(), event.metadata().target());
        event.record(&mut line);
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 && self.lines.try_send(Message::Line(missing(dropped))).is_ok() {
            self.dropped.fetch_sub(dropped, Ordering::Relaxed);
        }
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.finish())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn missing(count: u64) -> Vec<u8> {
    let mut line = Line::new(Level::WARN, module_path!());
    let _ = write!(line.message, "{count} lines of the log are missing: the journal did not take them in time");
    line.finish()
}

/// One line on its way into a datagram.
struct Line {
    message: String,
    /// The fields as they follow the message for people.
    shown: String,
    bytes: Vec<u8>,
    has_gateway: bool,
}

impl Line {
    fn new(level: Level, target: &str) -> Self {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut line = Self { message: String::new(), shown: String::new(), bytes: Vec::new(), has_gateway: false };
        line.put("PRIORITY", priority);
        line.put("SYSLOG_IDENTIFIER", "pattoo-gateway");
        line.put("TARGET", target);
        line
    }

    /// In journald's native format: a value with line breaks has its length before it.
    fn put(&mut self, name: &str, value: &str) {
        let value = shortened(value);
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        if name == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        let _ = write!(self.shown, " {name}={value}");
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        self.has_gateway |= name == "GATEWAY";
        // Journald keeps these to itself.
        self.put(name.trim_start_matches('_'), value);
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some(gateway) = GATEWAY.get().filter(|_| !self.has_gateway) {
            self.put("GATEWAY", gateway);
        }
        let text = format!("{}{}", self.message, self.shown);
        self.put("MESSAGE", text.trim_start());
        self.bytes
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), &format!("{value:?}"));
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use tracing::{info, warn};
    use tracing_subscriber::prelude::*;

    use super::*;

    fn text(line: &Message) -> String {
        match line {
            Message::Line(line) => String::from_utf8_lossy(line).into_owned(),
            Message::Flush(_) => "flush".into(),
        }
    }

    #[test]
    fn a_line_bears_its_fields_and_reads_as_a_text() {
        let (journal, _, lines) = layer();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            warn!(device = "meter", link = "line1", tries = 3, "no answer");
            info!(gateway = "plant7", why = "a\nb", "up");
        });
        assert_eq!(
            text(&lines.try_recv().unwrap()),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=pattoo-gateway\nTARGET=pattoo_gateway::journal::tests\nDEVICE=meter\nLINK=line1\nTRIES=3\n\
             MESSAGE=no answer device=meter link=line1 tries=3\n"
        );
        let second = text(&lines.try_recv().unwrap());
        assert!(second.contains("GATEWAY=plant7\nWHY\n\u{3}\0\0\0\0\0\0\0a\nb\n"), "{second:?}");
    }

    #[test]
    fn a_journal_that_hangs_holds_nobody_up_and_what_is_missing_is_said() {
        let (journal, flush, lines) = layer();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            for n in 0..MAX_LINES + 7 {
                info!(n, "line");
            }
            let (own, peer) = UnixDatagram::pair().unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let writer = std::thread::spawn(move || write(&own, &lines));
            let mut buffer = [0; 4096];
            let mut next = || {
                let length = peer.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            };
            for n in 0..MAX_LINES {
                assert!(next().contains(&format!("N={n}\n")));
            }
            info!("after");
            assert!(next().contains("MESSAGE=7 lines of the log are missing"));
            assert!(next().contains("MESSAGE=after"));
            flush.wait();
            drop(flush);
            drop(writer);
        });
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "ä".repeat(MAX_TEXT_BYTES);
        assert_eq!(shortened(&long).len(), MAX_TEXT_BYTES);
        assert_eq!(shortened(&format!("a{long}")).len(), MAX_TEXT_BYTES - 1);
        assert_eq!(shortened("short"), "short");
    }
}
