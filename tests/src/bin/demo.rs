//! `cargo demo`: a whole installation on this machine, to look at. Server, gateway reading this host, two simulated meters,
//! and a made-up pump house with a day of history.
//!
//! Starts itself again as each program, so that one build serves all. Keeps everything in a folder below `target` that goes
//! when it stops.
#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::api::Api;
use pattoo_tests::pump_house::{PumpHouse, now_ms};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a program may take to get ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two looks whether something is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How much of its past the pump house tells, and how often it is read, in ms.
const PAST_MS: i64 = 86_400_000;
const PUMP_EVERY_MS: i64 = 10_000;

const GATEWAY: &str = "demo";
const ADMIN: &str = "demo";
const HTTP_PORT: u16 = 8080;
const MQTT_PORT: u16 = 1883;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    let rest: Vec<_> = args.collect();
    match rest.first().and_then(|a| a.to_str()) {
        Some("gateway") => return pattoo_gateway::cli::main(rest),
        Some("server") => return pattoo_server::cli::main(rest),
        Some(other) => {
            eprintln!("cargo demo takes no arguments, found {other:?}");
            return ExitCode::from(2);
        }
        None => drop(program),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(demo())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let started = Instant::now();
    let folder = Folder::new()?;
    let mut programs = Programs::default();
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = show(&folder.path, &mut programs, started) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    println!("\n  stopping …");
    programs.stop().await;
    println!("  stopped");
    outcome
}

async fn show(folder: &Path, programs: &mut Programs, started: Instant) -> Result<()> {
    println!("\n  Pattoo demo\n");

    step("two simulated SDM630 meters");
    let profiles = pattoo_tests::profiles();
    let simulator = ["simulate", "eastron-sdm630", "--units", "1,2", "--listen", "127.0.0.1:0"];
    let meters = programs.start("gateway", folder, |c| c.arg("--profiles").arg(&profiles).args(simulator)).await?;
    let endpoint = meters.strip_prefix("listening ").context("the simulator did not say where it listens")?.to_owned();
    done(&format!("Modbus TCP at {endpoint}"));

    step("server");
    let ready = folder.join("server.json");
    let config = folder.join("server.yaml");
    let (http, mqtt) = (free_or_any(HTTP_PORT), free_or_any(MQTT_PORT));
    let data = folder.join("data");
    std::fs::write(
        &config,
        format!(
            "data: {}\nhttp: {{ listen: 127.0.0.1:{http}, anonymous: viewer }}\nbroker: {{ listen: 127.0.0.1:{mqtt} }}\n",
            data.display()
        ),
    )?;
    let link = admin(&data, &config)?;
    programs.spawn("server", folder, |c| c.args(["run", "--config"]).arg(&config).arg("--ready-file").arg(&ready))?;
    let bound = programs.ready(&ready).await?;
    let address = |key: &str| bound.get(key).and_then(|v| v.as_str()).map(str::to_owned).context("the server did not say where it listens");
    let (http, mqtt) = (address("http")?, address("mqtt")?);
    done(&format!("MQTT at {mqtt}"));

    step("gateway");
    let config = folder.join("gateway.yaml");
    std::fs::write(&config, gateway_config(folder, &mqtt, &endpoint))?;
    let ready = folder.join("gateway.json");
    programs.spawn("gateway", folder, |c| {
        c.arg("--config").arg(&config).arg("--profiles").arg(&profiles).args(["run", "--ready-file"]).arg(&ready)
    })?;
    programs.ready(&ready).await?;
    done("reads this machine and both meters");

    step("first readings");
    let api = Api { address: http.parse()? };
    let series = first_readings(api, programs).await?;
    done(&format!("{series} series stored and acknowledged"));

    step("a made-up pump house");
    let house = mqtt.parse()?;
    let told = tokio::task::spawn_blocking(move || pump_house(house)).await??;
    done(&format!("{told} readings of its last day"));

    println!(
        "\n  Up after {:.1} s. Look at  http://{http}/#link={link}\n  (it logs you in once, as {ADMIN}; Ctrl-C stops the demo)\n",
        started.elapsed().as_secs_f64()
    );
    programs.watch().await
}

/// Makes a user who may do everything; gives the secret of a link that logs it in once.
fn admin(data: &Path, config: &Path) -> Result<String> {
    std::fs::create_dir_all(data)?;
    let said = |args: &[&str], input: &str| -> Result<String> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg("server").args(args).arg("--config").arg(config);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "pattoo-server {args:?} ended with {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    };
    // Nobody needs to know it: the link logs in.
    let password = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    said(&["user", "add", ADMIN, "--role", "admin", "--password-stdin", "--keep"], password.trim())?;
    let link = said(&["user", "link", ADMIN], "")?;
    Ok(link.split("#link=").nth(1).context("no link was printed")?.trim().to_owned())
}

/// Tells the pump house's past, and goes on with its present as long as the server is there; gives how many readings the past has.
fn pump_house(mqtt: std::net::SocketAddr) -> Result<i64> {
    let mut next = now_ms()? / PUMP_EVERY_MS * PUMP_EVERY_MS;
    let mut house = PumpHouse::connect(mqtt, next)?;
    house.tell(next - PAST_MS, next, PUMP_EVERY_MS)?;
    // Its only way to end is the server that goes.
    std::thread::spawn(move || -> Result<()> {
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            let now = now_ms()?;
            if now - next >= PUMP_EVERY_MS {
                house.tell(next, now, PUMP_EVERY_MS)?;
                next += (now - next + PUMP_EVERY_MS - 1) / PUMP_EVERY_MS * PUMP_EVERY_MS;
            }
        }
    });
    Ok(PAST_MS / PUMP_EVERY_MS * i64::try_from(pattoo_tests::pump_house::SERIES)?)
}

fn step(what: &str) {
    print!("  · {what:<30}");
    // Progress that cannot be shown is no reason to stop.
    let _ = std::io::stdout().flush();
}

fn done(what: &str) {
    println!("{what}");
}

/// The default port where it is free, else any.
fn free_or_any(port: u16) -> u16 {
    TcpListener::bind(("127.0.0.1", port)).map_or(0, |_| port)
}

fn gateway_config(folder: &Path, mqtt: &str, meters: &str) -> String {
    format!(
        "gateway: {GATEWAY}
uplink: {{ url: mqtt://{mqtt} }}
buffer: {{ path: {buffer}, max_bytes: 64MiB }}
batch: {{ every: 2s }}
links:
  meters: {{ tcp: {meters} }}
devices:
  - {{ name: this-machine, profile: linux-host, every: 2s }}
  - {{ name: main-meter, profile: eastron-sdm630, link: meters, unit: 1, every: 2s, labels: {{ site: demo }} }}
  - {{ name: workshop-meter, profile: eastron-sdm630, link: meters, unit: 2, every: 2s, labels: {{ site: demo }} }}
",
        buffer = folder.join("buffer").display()
    )
}

/// Waits until every device of the demo has readings in the store.
async fn first_readings(api: Api, programs: &mut Programs) -> Result<usize> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        programs.check()?;
        let devices = ["this-machine", "main-meter", "workshop-meter"];
        let count = move |device| api.json(&format!("/api/v1/latest?device={device}")).ok()?.get("latest")?.as_array().map(Vec::len);
        let counts: Vec<usize> = tokio::task::spawn_blocking(move || devices.into_iter().filter_map(count).collect()).await?;
        if counts.len() == devices.len() && counts.iter().all(|count| *count > 0) {
            return Ok(counts.iter().sum());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("no readings arrived within {PATIENCE:?}; the logs are in {}", programs.logs())
}

/// A folder of its own below `target`; removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self> {
        let path = pattoo_tests::root().join("target/demo").join(std::process::id().to_string());
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays below target harms nobody.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[derive(Default)]
struct Programs {
    running: Vec<(&'static str, Child)>,
    folder: PathBuf,
}

impl Programs {
    fn spawn<'a>(&mut self, name: &'static str, folder: &Path, with: impl FnOnce(&mut Command) -> &mut Command + 'a) -> Result<&mut Child> {
        self.folder = folder.to_owned();
        let log = std::fs::File::options().create(true).append(true).open(folder.join(format!("{name}.log")))?;
        let mut command = Command::new(std::env::current_exe()?);
        with(command.arg(name)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        self.running.push((name, child));
        self.running.last_mut().map(|(_, child)| child).context("it was just started")
    }

    /// Starts a program and gives the first line that it prints.
    async fn start(&mut self, name: &'static str, folder: &Path, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<String> {
        let child = self.spawn(name, folder, with)?;
        let output = child.stdout.take().context("its output is captured")?;
        let line = tokio::time::timeout(PATIENCE, BufReader::new(output).lines().next_line()).await;
        line.with_context(|| format!("the {name} printed nothing"))??
            .with_context(|| format!("the {name} ended at once; see {}", self.logs()))
    }

    async fn ready(&mut self, file: &Path) -> Result<serde_json::Value> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.check()?;
            if let Some(json) = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                return Ok(json);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("not ready within {PATIENCE:?}; the logs are in {}", self.logs())
    }

    /// Fails as soon as one of them has ended.
    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                bail!("the {name} ended with {status}:\n{log}");
            }
        }
        Ok(())
    }

    async fn watch(&mut self) -> Result<()> {
        loop {
            self.check()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn logs(&self) -> String {
        self.folder.display().to_string()
    }

    /// Stops in reverse order of start; who does not listen is killed when dropped.
    async fn stop(&mut self) {
        while let Some((name, mut child)) = self.running.pop() {
            if let Some(pid) = child.id()
                && pattoo_tests::program::signal(pid, "TERM").is_ok()
                && tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err()
            {
                println!("  the {name} did not stop within {STOP_WITHIN:?}");
            }
        }
    }
}
