//! Modbus TCP: one connection at a time, thrown away as soon as anything about it is in doubt.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_modbus::Slave;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::{Request as Pdu, SlaveContext as _};

use super::super::ear::{Ear, Overheard};
use super::{Answer, Attempt, Clock, Failure, judge};
use crate::link;

/// Longest waits.
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

/// The connection to one endpoint.
pub(super) struct Tcp {
    endpoint: String,
    /// Taken out while a request is under way, so that a request that is dropped half-way drops it too.
    context: Option<Context>,
    pub(super) ear: Option<Arc<dyn Ear>>,
}

impl Tcp {
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, context: None, ear: None }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn is_connected(&self) -> bool {
        self.context.is_some()
    }

    pub(super) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, limits: Limits, clock: &Clock) -> Attempt {
        let mut start_ms = clock();
        let context = match self.context.take() {
            Some(context) => Ok(context),
            None => connect(&self.endpoint, limits.connect, self.ear.clone()).await,
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
}

async fn connect(endpoint: &str, limit: Duration, ear: Option<Arc<dyn Ear>>) -> Result<Context, Failure> {
    let stream = link::connect(endpoint, limit).await.map_err(|_| Failure::Unreachable)?;
    Ok(tcp::attach_slave(Overheard::new(stream, ear), Slave(0)))
}

async fn call(context: &mut Context, unit: u8, question: &Pdu<'static>, limit: Duration) -> Result<Answer, Failure> {
    context.set_slave(Slave(unit));
    match timeout(limit, context.call(question.clone())).await {
        Ok(result) => judge(question, result),
        Err(_) => Err(Failure::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::super::question;
    use super::*;
    use crate::plan::Request;
    use crate::profile::Table;

    /// What a request makes of these bytes, after which the connection ends.
    fn hear(table: Table, count: u16, bytes: &[u8]) -> Result<Answer, Failure> {
        let question = question::read(&Request { table, address: 5, count, points: vec![] });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(70_000);
            let mut context = tcp::attach_slave(near, Slave(0));
            let mut asked = [0; 12];
            let device = async {
                tokio::io::AsyncReadExt::read_exact(&mut far, &mut asked).await.unwrap();
                far.write_all(bytes).await.unwrap();
                drop(far);
            };
            tokio::join!(call(&mut context, 9, &question, Duration::from_secs(10)), device).0
        })
    }

    #[test]
    fn bits_are_taken_from_exactly_as_many_bytes_as_they_need() {
        let reply = |bytes: &[u8]| {
            let (count, length) = (u8::try_from(bytes.len()).unwrap(), u8::try_from(bytes.len() + 3).unwrap());
            hear(Table::Coil, 10, &[&[0, 0, 0, 0, 0, length, 9, 1, count], bytes].concat())
        };
        let bits = vec![1, 0, 1, 1, 0, 0, 0, 0, 0, 1];
        assert_eq!(reply(&[0b0000_1101, 0b1111_1110]), Ok(Answer::Words(bits)));
        assert_eq!(reply(&[0b0000_1101]), Err(Failure::Malformed));
        assert_eq!(reply(&[0, 0, 0]), Err(Failure::Malformed));
    }

    #[test]
    fn a_table_asks_with_its_own_function() {
        for (table, function) in [(Table::Coil, 1), (Table::Discrete, 2), (Table::Holding, 3), (Table::Input, 4)] {
            for answered in 1..=4 {
                let result = hear(table, 8, &[0, 0, 0, 0, 0, 3, 9, answered | 0x80, 4]);
                let expected = if answered == function { Ok(Answer::Refused(4)) } else { Err(Failure::Malformed) };
                assert_eq!(result, expected, "{table:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_another_number_of_words(
            table in prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]),
            count in 1..=125u16,
            header in prop::sample::select(vec![vec![0, 0, 0, 0], vec![0, 0, 0, 1], vec![]]),
            length in prop::option::of(0..300u16),
            function in prop::option::of(0..=255u8),
            rest in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = header;
            bytes.extend(length.map_or(u16::try_from(rest.len()).unwrap() + 2, |l| l).to_be_bytes());
            bytes.push(9);
            bytes.push(function.unwrap_or(match table { Table::Coil => 1, Table::Discrete => 2, Table::Holding => 3, Table::Input => 4 }));
            bytes.extend(rest);
            if let Ok(Answer::Words(words)) = hear(table, count, &bytes) {
                prop_assert_eq!(words.len(), usize::from(count));
            }
        }
    }
}
