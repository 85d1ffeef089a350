//! A serial line with Modbus RTU devices on it that takes its time: bytes come at the rate of a UART, devices need a moment to answer.
//!
//! A pseudo terminal hands over at once whatever is written. Here a question counts as heard when its bytes would have gone over the
//! line, and each byte of the answer is written when its last bit would have come. Devices answer for coils and registers of any address.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pattoo_gateway::link::serial::SerialLine;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Bytes of a question that reads.
const QUESTION_BYTES: usize = 8;
/// Bytes of an answer beside its data.
const ANSWER_BYTES: usize = 5;

/// What the line has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Questions that were answered.
    pub questions: u64,
    /// Registers and bits that were answered.
    pub values: u64,
    /// Time during which the line could carry nothing else: bytes, the devices' time to answer, and the silence before each question.
    pub busy: Duration,
    /// By how much answers ended late because this machine had other things to do.
    pub late: Duration,
    /// Silence between answers and the questions behind them.
    pub silence: Duration,
}

/// The far end of a line. It ends when the near end was open and is closed.
pub struct Line {
    /// The near end: what a program takes for a serial port.
    pub path: String,
    seen: Arc<Mutex<Seen>>,
    _thread: JoinHandle<()>,
}

impl Line {
    /// A line with these settings, but for its path, on which all unit ids answer after this time.
    ///
    /// # Errors
    /// The system has no pseudo terminal to give.
    pub fn start(settings: &SerialLine, turnaround: Duration) -> Result<Self> {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&far)?;
        unlockpt(&far)?;
        let path = ptsname(&far, Vec::new())?.into_string()?;
        // Whatever is written before the port is opened must come out as it went in.
        let near = File::options().read(true).write(true).open(&path).with_context(|| path.clone())?;
        raw(&near)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (settings, told) = (settings.clone(), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let _near = near;
            let far = File::from(far);
            // An end of the near side is the end.
            let _ = serve(far, &settings, turnaround, &told);
        });
        Ok(Self { path, seen, _thread: thread })
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn raw(terminal: &impl AsFd) -> Result<()> {
    let mut settings: Termios = tcgetattr(terminal)?;
    settings.make_raw();
    Ok(tcsetattr(terminal, OptionalActions::Now, &settings)?)
}

/// The time that the line needs for a question and its answer of so many bytes, with the silence before.
#[must_use]
pub fn time_of(line: &SerialLine, turnaround: Duration, data_bytes: usize) -> Duration {
    let bytes = u32::try_from(QUESTION_BYTES + ANSWER_BYTES + data_bytes).unwrap_or(u32::MAX);
    line.frame_gap() + line.time_of(bytes) + turnaround
}

#[expect(clippy::disallowed_methods, reason = "the pace of the line is what is simulated")]
fn serve(mut far: File, line: &SerialLine, turnaround: Duration, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut question = [0; QUESTION_BYTES];
    let mut ended: Option<Instant> = None;
    loop {
        far.read_exact(question.get_mut(..1).unwrap_or_default())?;
        let asked = Instant::now();
        far.read_exact(question.get_mut(1..).unwrap_or_default())?;
        let (answer, values) = answer(&question);
        let begin = asked + line.time_of(QUESTION_BYTES as u32) + turnaround;
        let mut sent = 0;
        while sent < answer.len() {
            let next = begin + line.time_of(sent as u32 + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            // All whose time has come: a UART does not wait for us.
            let now = Instant::now();
            let due = (sent..answer.len()).take_while(|at| begin + line.time_of(*at as u32 + 1) <= now).count();
            far.write_all(answer.get(sent..sent + due).unwrap_or_default())?;
            sent += due;
        }
        let now = Instant::now();
        let late = now.saturating_duration_since(begin + line.time_of(answer.len() as u32));
        let silence = ended.replace(now).map_or(Duration::ZERO, |ended| asked.saturating_duration_since(ended));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.questions += 1;
        seen.values += values;
        seen.busy += time_of(line, turnaround, answer.len() - ANSWER_BYTES);
        seen.late += late;
        seen.silence += silence;
    }
}

/// The answer to a question that reads, each register holding its own address, and how many values it has.
fn answer(question: &[u8; QUESTION_BYTES]) -> (Vec<u8>, u64) {
    let [unit, function, address_high, address_low, count_high, count_low, ..] = *question;
    let (address, count) = (u16::from_be_bytes([address_high, address_low]), u16::from_be_bytes([count_high, count_low]));
    let data: Vec<u8> = match function {
        1 | 2 => vec![0x55; usize::from(count.div_ceil(8))],
        _ => (0..count).flat_map(|n| address.wrapping_add(n).to_be_bytes()).collect(),
    };
    let mut answer = vec![unit, function, u8::try_from(data.len()).unwrap_or(u8::MAX)];
    answer.extend(data);
    answer.extend(crc(&answer).to_le_bytes());
    (answer, u64::from(count))
}

/// CRC-16 of Modbus over serial line 1.02, §6.2.2.
fn crc(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0xffff, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_standard() {
        // Question and checksum from the example of Modbus over serial line: 02 07 has the checksum 41 12.
        assert_eq!(crc(&[0x02, 0x07]).to_le_bytes(), [0x41, 0x12]);
        let (answer, values) = answer(&[1, 3, 0, 16, 0, 2, 0, 0]);
        assert_eq!((answer.get(..7), values), (Some(&[1, 3, 4, 0, 16, 0, 17][..]), 2));
    }
}
