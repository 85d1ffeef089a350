//! A question to the kernel that may hang for ever, such as the size of a filesystem whose server is dead. Shell.

use tokio::sync::oneshot::{Receiver, channel, error::TryRecvError};
use tokio::time::{Instant, timeout_at};

/// At most one thread that works on the same question.
///
/// A thread of its own, not one of the runtime's: a runtime that stops waits for its blocking threads, and would do so for ever.
pub(super) struct Probe<T> {
    running: Option<Receiver<T>>,
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self { running: None }
    }
}

impl<T: Send + 'static> Probe<T> {
    /// Starts the work; false if an earlier one still hangs, or no thread is to be had. What an earlier one found in the meantime
    /// is thrown away: it is of another time.
    #[must_use]
    pub(super) fn start(&mut self, work: impl FnOnce() -> T + Send + 'static) -> bool {
        if self.hangs() {
            return false;
        }
        let (sender, receiver) = channel();
        let spawned = std::thread::Builder::new().name("host-probe".to_owned()).spawn(move || sender.send(work()).ok());
        self.running = spawned.is_ok().then_some(receiver);
        self.running.is_some()
    }

    /// Whether work that was started has not come back.
    pub(super) fn hangs(&mut self) -> bool {
        self.running.as_mut().is_some_and(|receiver| receiver.try_recv().is_err_and(|e| e == TryRecvError::Empty))
    }

    /// The answer, if it comes before the deadline.
    pub(super) async fn answer(&mut self, deadline: Instant) -> Option<T> {
        let receiver = self.running.as_mut()?;
        let answer = timeout_at(deadline, receiver).await.ok()?;
        self.running = None;
        answer.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_neither_waited_for_nor_started_twice_nor_taken_for_the_next() {
        let (release, gate) = mpsc::channel::<()>();
        let mut probe = Probe::default();
        assert!(probe.start(move || gate.recv().map_or(0, |()| 1)));
        assert_eq!(probe.answer(Instant::now()).await, None);
        assert!(!probe.start(|| unreachable!("a second one while the first hangs")));
        release.send(()).unwrap();
        let bound = Instant::now() + Duration::from_secs(10);
        while probe.hangs() && Instant::now() < bound {
            tokio::task::yield_now().await;
        }
        assert!(probe.start(|| 2), "the first has come back");
        assert_eq!(probe.answer(bound).await, Some(2));
        assert_eq!(probe.answer(bound).await, None, "nothing runs");
    }

    #[tokio::test]
    async fn work_that_panics_is_no_answer() {
        let mut probe: Probe<u8> = Probe::default();
        assert!(probe.start(|| panic!("as a device driver may")));
        assert_eq!(probe.answer(Instant::now() + Duration::from_secs(10)).await, None);
        assert!(!probe.hangs());
    }
}
