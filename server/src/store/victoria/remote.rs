//! Shell: VictoriaMetrics over HTTP. Blocking, as all of a store is; keeps nothing, retries nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::WithBody;
use ureq::{Agent, RequestBuilder};

use super::backend::Settings;
use super::plane;
use super::question::{self, AnswerError, InPart, MAX_STEPS, Names, Of};
use super::remote_write::{MAX_SAMPLES, Message};
use crate::query::bucket_start;
use crate::store::{Bucket, Reading, SeriesId};

/// Whoever charts waits for no answer longer than this.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
/// Of what a refusal says, so much is passed on.
const MAX_WORDS: usize = 300;
/// New series appear after 10 s or so.
const PROBE_WITHIN: Duration = Duration::from_secs(60);
/// A second copy has time to show up as one.
const PROBE_SETTLES: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_millis(200);
const PROBE: &str = "pattoo_probe";

/// Why VictoriaMetrics did not do it.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// No answer; it may have done it. Try again.
    #[error("{url}: {what}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        what: String,
    },
    /// It does not want it.
    #[error("{url}: status {status}: {what}")]
    Refused {
        /// Where.
        url: String,
        /// Of HTTP.
        status: u16,
        /// Its words.
        what: String,
    },
    /// Its answer cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It counts a resend as another reading.
    #[error(
        "VictoriaMetrics at {url} keeps a reading that is sent twice as two ({copies}): start it with -dedup.minScrapeInterval=1ms; of a cluster \
         both vmstorage and vmselect"
    )]
    Duplicates {
        /// Where.
        url: String,
        /// How many were counted of one.
        copies: String,
    },
    /// What was written does not show up.
    #[error(
        "VictoriaMetrics at {url} does not show within {PROBE_WITHIN:?} what was written to it: do write and read address lead to the same one?"
    )]
    Lost {
        /// Where.
        url: String,
    },
}

impl RemoteError {
    /// Whether it may be well again by itself.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Answer(_) | Self::Duplicates { .. } | Self::Lost { .. } => false,
        }
    }
}

/// Where it is, and what is ours of it.
#[derive(Clone)]
pub struct Remote {
    agent: Agent,
    write_url: String,
    read_url: String,
    /// Value of the header of that name; never shown.
    authorization: Option<String>,
    store: String,
}

impl Remote {
    /// Both URLs stand in front of `/api/v1/…`: those of the single binary are the same, those of a cluster lead to vminsert and vmselect.
    /// What is written and asked for is that of the store of this name.
    #[must_use]
    pub fn new(settings: &Settings, store: &str) -> Self {
        let authorities = settings.authorities.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(authorities));
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_WITHIN)).tls_config(tls.build());
        let url = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            agent: Agent::new_with_config(config.build()),
            write_url: url(&settings.write_url),
            read_url: url(&settings.read_url),
            authorization: settings.authorization.clone(),
            store: store.to_owned(),
        }
    }

    /// Writes a message. What was taken is in memory there, and gone if it dies in the next seconds: hold it until it was seen for longer.
    ///
    /// # Errors
    /// It may or may not be there; the same again does no harm.
    pub fn write(&self, message: &[u8]) -> Result<(), RemoteError> {
        let url = format!("{}/api/v1/write", self.write_url);
        let request = self.post(&url).header("Content-Encoding", "snappy").content_type("application/x-protobuf");
        answered(&url, request.send(message)).map(drop)
    }

    /// Writes readings, as far as they have a plane, in messages of [`MAX_SAMPLES`] or less.
    ///
    /// # Errors
    /// Some may be there; the same again does no harm.
    pub fn send<'a>(&self, readings: impl IntoIterator<Item = (SeriesId, &'a Names, &'a [Reading])>) -> Result<(), RemoteError> {
        let mut message = Message::default();
        for (series, names, readings) in readings {
            for readings in readings.chunks(MAX_SAMPLES) {
                let mut planes: BTreeMap<plane::Plane, Vec<(f64, i64)>> = BTreeMap::new();
                for reading in readings {
                    if let Some((plane, integer)) = plane::write(&reading.sample) {
                        planes.entry(plane).or_default().push((integer as f64, reading.at_ms));
                    }
                }
                if message.samples() > 0 && message.samples() + readings.len() > MAX_SAMPLES {
                    self.write_message(&mut message)?;
                }
                for (plane, samples) in planes {
                    let labels = Of { store: &self.store, series }.labels(names, plane);
                    message.put(labels.iter().map(|(name, value)| (*name, value.as_str())), samples);
                }
            }
        }
        if message.samples() > 0 { self.write_message(&mut message) } else { Ok(()) }
    }

    fn write_message(&self, message: &mut Message) -> Result<(), RemoteError> {
        let body = message.take().map_err(|e| RemoteError::Unreachable { url: self.write_url.clone(), what: e.to_string() })?;
        self.write(&body)
    }

    /// Asks any URL for something without an answer.
    ///
    /// # Errors
    /// It does not do it.
    pub fn touch(&self, url: &str) -> Result<(), RemoteError> {
        answered(url, self.agent.get(url).call()).map(drop)
    }

    fn post(&self, url: &str) -> RequestBuilder<WithBody> {
        let request = self.agent.post(url);
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    fn of(&self, series: SeriesId) -> Of<'_> {
        Of { store: &self.store, series }
    }

    fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Result<String, RemoteError> {
        let url = format!("{}/api/v1/{path}", self.read_url);
        answered(&url, self.post(&url).send_form(parameters.iter().map(|(key, value)| (*key, value.as_str()))))
    }

    /// Readings with `from_ms <= at_ms < to_ms`, ascending, as far as they are there.
    ///
    /// # Errors
    /// None can be had.
    pub fn readings(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> Result<Vec<Reading>, RemoteError> {
        if from_ms >= to_ms {
            return Ok(Vec::new());
        }
        Ok(question::readings(series, &self.ask("export", &question::export(self.of(series), from_ms, to_ms))?)?)
    }

    /// Buckets of `step_ms`, aligned to 1970, ascending, of readings with `from_ms <= at_ms < to_ms`; made there. And whether they are of a
    /// part of a cluster only.
    ///
    /// # Errors
    /// Not all can be had, and that is denied.
    ///
    /// # Panics
    /// A step below 1.
    pub fn buckets(
        &self,
        series: SeriesId,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        in_part: InPart,
    ) -> Result<question::Found, RemoteError> {
        let (mut buckets, mut partial) = (Vec::new(), false);
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            let start_ms = bucket_start(at_ms, step_ms);
            let whole = to_ms.saturating_sub(at_ms) / step_ms;
            // The first and the last bucket may be cut by the range; those between are asked for together.
            let (width_ms, steps) = if at_ms == start_ms && whole > 0 {
                (step_ms, whole.min(MAX_STEPS))
            } else {
                (start_ms.saturating_add(step_ms).min(to_ms).saturating_sub(at_ms), 1)
            };
            let answer = self.ask("query_range", &question::aggregate(self.of(series), at_ms, width_ms, steps, in_part))?;
            let (found, of_part) = question::buckets(series, width_ms, in_part, &answer)?;
            partial |= of_part;
            buckets.extend(found.into_iter().map(|bucket| Bucket { start_ms: bucket_start(bucket.start_ms, step_ms), ..bucket }));
            at_ms = at_ms.saturating_add(width_ms.saturating_mul(steps));
        }
        Ok((buckets, partial))
    }

    /// All readings of a series with `from_ms <= at_ms < to_ms` as one bucket, if there are any.
    ///
    /// # Errors
    /// Not all can be had.
    pub fn totals(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> Result<question::Found, RemoteError> {
        let in_part = InPart::Denied;
        let answer = self.ask("query_range", &question::aggregate(self.of(series), from_ms, to_ms - from_ms, 1, in_part))?;
        Ok(question::buckets(series, to_ms - from_ms, in_part, &answer)?)
    }

    /// Times of the first and the last reading with `from_ms <= at_ms < to_ms`, to a second or so.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn span(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> Result<Option<(i64, i64)>, RemoteError> {
        let answer = self.ask("query", &question::span(self.of(series), from_ms, to_ms))?;
        Ok(question::read_span(&answer)?)
    }

    /// Whether questions are answered.
    ///
    /// # Errors
    /// They are not.
    pub fn ping(&self) -> Result<(), RemoteError> {
        self.ask("query", &[("query", "1".to_owned())]).map(drop)
    }

    /// That a reading sent twice is one there: without it every resend after a crash would count again. Writes one reading of a series of its
    /// own, named `run`, at `now_ms`.
    ///
    /// # Errors
    /// It is not so, or cannot be found out.
    pub fn check_deduplication(&self, run: &str, now_ms: i64) -> Result<(), RemoteError> {
        for _ in 0..2 {
            let mut message = Message::default();
            message.put([("__name__", PROBE), ("run", run)], [(1.0, now_ms)]);
            let message = message.take().map_err(|e| RemoteError::Unreachable { url: self.write_url.clone(), what: e.to_string() })?;
            self.write(&message)?;
        }
        let (begun, mut seen) = (Instant::now(), None);
        let parameters = [("match[]", format!("{PROBE}{{run=\"{run}\"}}")), ("start", "0".to_owned())];
        while begun.elapsed() < PROBE_WITHIN {
            let copies = self.ask("export", &parameters)?.matches(&now_ms.to_string()).count();
            match copies {
                0 => {}
                1 if seen.get_or_insert_with(Instant::now).elapsed() > PROBE_SETTLES => return Ok(()),
                1 => {}
                _ => return Err(RemoteError::Duplicates { url: self.read_url.clone(), copies: copies.to_string() }),
            }
            std::thread::park_timeout(PROBE_EVERY);
        }
        Err(RemoteError::Lost { url: self.read_url.clone() })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.read_url, self.store)
    }
}

fn answered(url: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, RemoteError> {
    let unreachable = |what: String| RemoteError::Unreachable { url: url.to_owned(), what };
    let mut answer = answer.map_err(|e| unreachable(e.to_string()))?;
    let mut body = String::new();
    let read = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).reader().read_to_string(&mut body);
    read.map_err(|e| unreachable(e.to_string()))?;
    match answer.status() {
        status if status.is_success() => Ok(body),
        status => {
            let what = body.chars().take(MAX_WORDS).collect();
            Err(RemoteError::Refused { url: url.to_owned(), status: status.as_u16(), what })
        }
    }
}
