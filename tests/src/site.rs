//! A server with accounts and TLS, a good gateway that must not be disturbed, and what the server tells of the bad ones.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_wire::{Ack, Batch, Block, Device, Header, Kind, Repr, Sample, Schema, Series, Value, data_message, topic};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::mqtt::{ANSWER_WITHIN, Connect, Raw, code};
use crate::program::{PATIENCE, binary};
use crate::stack::Stack;
use crate::wait_for;

/// The good gateway's stream.
const STREAM: u64 = 0x900d;

/// A server that takes gateways by TLS, and programs of this machine without.
pub struct Site {
    /// Its folder and programs.
    pub stack: Stack,
    /// Its config file.
    pub config: PathBuf,
    /// Where it listens without TLS.
    pub plain: SocketAddr,
    /// Where it listens with TLS.
    pub secure: SocketAddr,
}

impl Site {
    /// A server with its own authority; `tls` is what its config says of TLS.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start(tls: &str, listen: &str) -> Result<Self> {
        let mut stack = Stack::new()?;
        let config = stack.folder().join("server.yaml");
        let broker = format!("{{ listen: '{listen}:0', tls: {tls}, plain: 127.0.0.1:0 }}");
        std::fs::write(&config, format!("data: data\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {broker}\n"))?;
        stack.start_server_with(&config)?;
        let (plain, mut secure) = (stack.address("mqtt")?, stack.address("mqtts")?);
        if secure.ip().is_unspecified() {
            secure.set_ip([127, 0, 0, 1].into());
        }
        Ok(Self { stack, config, plain, secure })
    }

    /// Runs `pattoo-server gateway …`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new(binary("pattoo-server")?);
        command.arg("gateway").args(args).arg("--config").arg(&self.config);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("its input")?, input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Changes an account, which must succeed, and waits until the server has read of it; gives what was printed.
    ///
    /// # Errors
    /// It fails, or the server does not look.
    pub fn change(&self, args: &[&str], input: &str) -> Result<String> {
        let before = self.read_again();
        let output = self.run(args, input)?;
        ensure!(output.status.success(), "gateway {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        wait_for("the accounts to be read again", PATIENCE, || (self.read_again() > before).then_some(()))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes an account with a token, and gives the token.
    ///
    /// # Errors
    /// It is refused.
    pub fn token(&self, name: &str) -> Result<String> {
        token_of(name, &self.change(&["add", name, "--json"], "")?)
    }

    /// Makes an account with a certificate; gives certificate and key.
    ///
    /// # Errors
    /// It is refused.
    pub fn certificate(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let folder = self.stack.folder().join(format!("given-{name}"));
        std::fs::create_dir(&folder)?;
        self.change(&["add", name, "--certificate", "--out", &folder.to_string_lossy()], "")?;
        Ok((folder.join("gateway.pem"), folder.join("gateway.key")))
    }

    /// How often the server has read the accounts again, by its log.
    fn read_again(&self) -> usize {
        let log = self.stack.server.as_ref().map(|server| server.output()).unwrap_or_default();
        log.iter().filter(|line| line.contains("read the accounts of gateways again")).count()
    }

    /// The authority of the server.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.stack.folder().join("data/tls/ca.pem")
    }

    /// A client that trusts the server, with a certificate of its own where given.
    ///
    /// # Errors
    /// A file is wrong.
    pub fn client(&self, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>> {
        client(&self.ca(), own, &[&rustls::version::TLS13])
    }

    /// A figure of the metrics page.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let (_, page) = self.stack.api()?.get("/metrics")?;
        let start = format!("{name}{labels} ");
        Ok(page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(0.0))
    }

    /// How many refusals there were for this reason, of this account or of nobody known.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn refusals(&self, reason: &str, account: &str) -> Result<u64> {
        Ok(self.metric("pattoo_broker_refusals_total", &format!("{{reason=\"{reason}\",account=\"{account}\"}}"))? as u64)
    }

    /// That a refusal was counted and told, with these words.
    ///
    /// # Errors
    /// It was not.
    pub fn told(&self, reason: &str, account: &str, words: &str) -> Result<()> {
        let server = self.stack.server.as_ref().context("it runs")?;
        let line = |line: &String| line.contains(&format!("reason=\"{reason}\"")) && line.contains(words);
        wait_for(&format!("a log line of {reason} with {words:?}"), ANSWER_WITHIN, || server.output().iter().any(line).then_some(()))
            .with_context(|| server.tail())?;
        ensure!(self.refusals(reason, account)? > 0, "{reason} of {account:?} is not counted");
        Ok(())
    }

    /// A line of `/proc/<server>/status`, in its own unit.
    ///
    /// # Errors
    /// The server has gone.
    pub fn status(&self, key: &str) -> Result<u64> {
        let pid = self.stack.server.as_ref().context("it runs")?.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).with_context(|| format!("no {key}"))
    }

    /// How many files the server has open.
    ///
    /// # Errors
    /// The server has gone.
    pub fn open_files(&self) -> Result<usize> {
        let pid = self.stack.server.as_ref().context("it runs")?.id();
        Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
    }
}

/// The token in what `gateway add --json` printed.
///
/// # Errors
/// It is not there.
pub fn token_of(name: &str, given: &str) -> Result<String> {
    let given: serde_json::Value = serde_json::from_str(given)?;
    let files = given.get("files").and_then(|files| files.as_array()).context("no files")?;
    let credentials = files.iter().find(|file| file.get("name").is_some_and(|name| name == "gateway.token"));
    let line = credentials.and_then(|file| file.get("content")?.as_str()).context("no credentials")?;
    let (user, token) = line.trim_end().split_once(':').context("no token")?;
    ensure!(user == name && token.len() == 64, "{line}");
    Ok(token.to_owned())
}

/// The client id that an account asks for.
#[must_use]
pub fn id(name: &str) -> String {
    format!("pattoo-{name}")
}

/// A TLS client of these versions.
///
/// # Errors
/// A file is wrong.
pub fn client(ca: &Path, own: Option<(&Path, &Path)>, versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ClientConfig>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&read(ca)?).collect::<Result<Vec<_>, _>>()?);
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(versions)?.with_root_certificates(roots);
    Ok(Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&read(key)?)?)?
        }
    }))
}

/// A gateway that sends a batch, waits for its acknowledgement, and sends the next, as long as it is let.
pub struct Good {
    thread: Option<JoinHandle<Result<Record>>>,
    stop: Arc<AtomicBool>,
}

/// How the good gateway fared.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// Batches that were acknowledged.
    pub batches: u64,
    /// The longest time from a batch to its acknowledgement.
    pub worst: Duration,
    /// How long all took.
    pub took: Duration,
}

impl Good {
    /// Over this connection, admitted as the gateway of this name.
    ///
    /// # Errors
    /// Its first batch is not acknowledged.
    pub fn start(mut raw: Raw, name: &str) -> Result<Self> {
        let subscribed = raw.subscribe(&topic::ack(name))?;
        ensure!(subscribed == code::GRANTED_1, "subscription answered by {subscribed:02x}");
        let schema = Schema {
            devices: vec![Device { name: "meter".into(), profile: "p".into(), labels: [].into() }],
            series: vec![Series {
                device: 0,
                point: "voltage".into(),
                unit: "V".into(),
                kind: Kind::Gauge,
                repr: Repr::Decimal { exponent: 0 },
                labels: [].into(),
                states: [].into(),
            }],
        };
        let (schema_id, message) = schema.encode()?;
        let answer = raw.publish(&topic::schema(name, schema_id), true, &message)?;
        ensure!(answer == code::SUCCESS, "schema answered by {answer:02x}");
        let mut next = {
            let name = name.to_owned();
            move |seq: u64| {
                let block =
                    Block { series: vec![0], times_ms: vec![i64::try_from(seq)? * 1000], samples: vec![Sample::Good(Value::int(1))] };
                let body = Batch { blocks: vec![block], gaps: Vec::new() }.encode(schema_id, &schema)?;
                let sent = Instant::now();
                let answer = raw.publish(&topic::data(&name), false, &data_message(&Header { stream: STREAM, seq, oldest: 1 }, &body)?)?;
                ensure!(answer == code::SUCCESS, "batch {seq} answered by {answer:02x}");
                while Ack::decode(&raw.message()?.1)?.seq < seq {}
                Ok(sent.elapsed())
            }
        };
        next(1)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut record = Record { batches: 1, worst: Duration::ZERO, took: Duration::ZERO };
            while !stopped.load(Ordering::Relaxed) {
                record.worst = record.worst.max(next(record.batches + 1)?);
                record.batches += 1;
            }
            record.took = start.elapsed();
            Ok(record)
        });
        Ok(Self { thread: Some(thread), stop })
    }

    /// Over TLS with a token, at this site.
    ///
    /// # Errors
    /// It is not admitted.
    pub fn at(site: &Site) -> Result<Self> {
        let token = site.token("good")?;
        let raw = Raw::tls(site.secure, &site.client(None)?)?;
        Self::start(raw.connected(Connect::as_id(&id("good")).login("good", &token))?, "good")
    }

    /// Stops it; every batch must have been acknowledged within the bound.
    ///
    /// # Errors
    /// It was disturbed.
    pub fn undisturbed(mut self, bound: Duration) -> Result<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it runs")?;
        let record = thread.join().map_err(|_| anyhow!("the good gateway panicked"))?.context("the good gateway was disturbed")?;
        eprintln!("good gateway: {} batches acknowledged in {:?}, the slowest after {:?}", record.batches, record.took, record.worst);
        ensure!(record.worst < bound, "an acknowledgement took {:?}, at most {bound:?} is undisturbed", record.worst);
        Ok(record)
    }
}
