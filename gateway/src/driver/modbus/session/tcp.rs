//! Modbus TCP: one connection at a time, thrown away as soon as anything about it is in doubt.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_modbus::Slave;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::{Request as Pdu, SlaveContext as _};

use super::super::ear::{Ear, Overheard};
use super::{Answer, Attempt, Clock, Failure, judge};
use crate::link::{self, Stream};

/// Longest waits.
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

/// The connection to one endpoint.
pub(super) struct Tcp {
    to: To,
    /// Taken out while a request is under way, so that a request that is dropped half-way drops it too.
    context: Option<Context>,
    pub(super) ear: Option<Arc<dyn Ear>>,
}

enum To {
    Network(String),
    /// A device in this process, on virtual time.
    #[cfg(test)]
    Memory(Box<dyn FnMut() -> tokio::io::DuplexStream + Send>),
}

impl Tcp {
    pub(super) fn new(endpoint: String) -> Self {
        Self { to: To::Network(endpoint), context: None, ear: None }
    }

    pub(super) fn endpoint(&self) -> &str {
        match &self.to {
            To::Network(endpoint) => endpoint,
            #[cfg(test)]
            To::Memory(_) => "in memory",
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.context.is_some()
    }

    pub(super) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, limits: Limits, clock: &Clock) -> Attempt {
        let mut start_ms = clock();
        let context = match self.context.take() {
            Some(context) => Ok(context),
            None => self.connect(limits.connect).await,
        };
        let mut context = match context {
            Ok(context) => context,
            Err(failure) => return Attempt { start_ms, took: None, result: Err(failure) },
        };
        start_ms = clock();
        let start = Instant::now();
        let result = call(&mut context, unit, question, limits.answer).await;
        if result.is_ok() {
            self.context = Some(context);
        }
        Attempt { start_ms, took: Some(start.elapsed()), result }
    }

    async fn connect(&mut self, limit: Duration) -> Result<Context, Failure> {
        let stream: Box<dyn Stream> = match &mut self.to {
            To::Network(endpoint) => Box::new(link::connect(endpoint, limit).await.map_err(|_| Failure::Unreachable)?),
            #[cfg(test)]
            To::Memory(dial) => Box::new(dial()),
        };
        Ok(tcp::attach_slave(Overheard::new(stream, self.ear.clone()), Slave(0)))
    }
}

async fn call(context: &mut Context, unit: u8, question: &Pdu<'static>, limit: Duration) -> Result<Answer, Failure> {
    context.set_slave(Slave(unit));
    match timeout(limit, context.call(question.clone())).await {
        Ok(result) => judge(question, result),
        Err(_) => Err(Failure::Timeout),
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
