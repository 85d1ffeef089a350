//! The command line of `pattoo-gateway`.
#![expect(clippy::print_stdout, reason = "commands answer on standard output")]

mod buffer;
mod convert;
mod scan;
mod simulate;
mod support;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::Loaded;
use crate::fixture::{Fixture, MAX_FIXTURE_BYTES, replay};
use crate::journal::{self, Flush, Journal};
use crate::link_log::{MAX_FOR, SWITCHED_FOR};
use crate::profile::{Parity, load_profiles, read_limited};
use crate::run::{Reload, Request, Source};
use crate::yaml::Problem;
use crate::{check, control, poll, record, run};

/// Where packages put the config.
const CONFIG: &str = "/etc/pattoo/gateway.yaml";
/// Where packages put profiles, and where people add theirs; later folders win.
const PROFILES: [&str; 2] = ["/usr/share/pattoo/hw-profiles", "/etc/pattoo/hw-profiles"];

/// Polls field devices, buffers their readings and forwards them until the server has them.
#[derive(Debug, Parser)]
#[command(name = "pattoo-gateway", version, propagate_version = true)]
struct Cli {
    /// Configuration file
    #[arg(long, global = true, default_value = CONFIG, env = "PATTOO_CONFIG")]
    config: PathBuf,
    /// Folder with device profiles; may be given several times, later ones win
    #[arg(long = "profiles", global = true, default_values = PROFILES)]
    profiles: Vec<PathBuf>,
    /// How to write the log, which goes to standard error; what it holds is set by PATTOO_LOG (default: info)
    #[arg(long, global = true, default_value = "text", env = "PATTOO_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run {
        /// Write this file once running, as JSON
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Validate config and profiles and print the plan; exit status 1 when something is refused
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Say only whether the daemon would start, leaving out what is refused
        #[arg(long)]
        can_start: bool,
    },
    /// Read once and print every point
    Poll {
        /// Only this device
        device: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Find devices, say which profiles fit them, and print a configuration to paste
    Scan {
        #[command(subcommand)]
        command: scan::ScanCommand,
    },
    /// Read a Modbus device once and print its raw replies and readings as a fixture
    Record {
        /// Name of the device
        device: String,
        /// Write to this file instead; where it is there already, the recording becomes one case more of it
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Name of the case
        #[arg(long, default_value = "recorded")]
        case: String,
    },
    /// Have the running daemon tell in its log what goes over one link, for a while
    Log {
        /// Name of the link
        link: String,
        /// off; values: readings; frames: also questions and answers; bytes: also what was sent and heard
        #[arg(value_parser = ["off", "values", "frames", "bytes"])]
        level: String,
        /// For how long, at most 24h
        #[arg(long = "for", default_value_t = SWITCHED_FOR.into())]
        time: humantime::Duration,
    },
    /// Have the running daemon take over its configuration as it is now; one that is broken changes nothing, and exit status 1 says so
    Reload,
    /// Look at the buffer of the running daemon
    Buffer {
        #[command(subcommand)]
        command: BufferCommand,
    },
    /// Write what somebody who helps wants to know into one file, without secrets: configuration, buffer, machine, log where it may be read
    SupportBundle {
        /// The file; one that is there stays
        #[arg(short, long, default_value = "pattoo-support.json")]
        output: PathBuf,
    },
    /// Make a configuration and profiles from the YAML files of Pattoo's old agents; exit status 1 when something could not be converted
    Convert {
        /// Files such as pattoo_agent_modbustcpd.yaml, as they are
        #[arg(required = true, value_name = "OLD.yaml")]
        olds: Vec<PathBuf>,
        /// Folder to write to, which is made where it is not there; nothing that is there is written over
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Work on device profiles
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Serve profiles as simulated devices: Modbus over TCP, behind a serial server or on a serial line, or BACnet/IP
    Simulate(simulate::SimulateArgs),
}

#[derive(Debug, Subcommand)]
enum BufferCommand {
    /// What waits in it, what it takes of its disk, and what is going to be trouble
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Replay fixtures through planner, driver and decoder; exit status 1 when a reading is not as its fixture says
    Test {
        /// Fixture files; all in the profile folders where none is named
        files: Vec<PathBuf>,
    },
}

/// Runs the program with these arguments (the first is its name). Exit status: 0 done, 1 failed, 2 usage.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, but no failures.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let flush = init_log(cli.log_format);
    let code = match execute(&cli) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("pattoo-gateway: {why:#}");
            ExitCode::FAILURE
        }
    };
    if let Some(flush) = flush {
        flush.wait();
    }
    code
}

/// All that this program takes, for manuals and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn execute(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Run { ready_file } => {
            let loaded = load(cli)?;
            runtime()?.block_on(async {
                let stop = stop_signal()?;
                let reload = Reload::new(source(cli));
                reload_signal(reload.asks.clone())?;
                run::run(loaded, reload, ready_file.as_deref(), stop).await
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { json, can_start } => {
            let loaded = load(cli)?;
            if *can_start {
                print_problems(&loaded.problems);
                return run::can_start(loaded).map(|()| ExitCode::SUCCESS);
            }
            let report = check::check(&loaded.config, &loaded.problems);
            print!("{}", if *json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() });
            Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Poll { device, json } => {
            let loaded = load(cli)?;
            print_problems(&loaded.problems);
            let polled = runtime()?.block_on(poll::poll(&loaded.config, device.as_deref()))?;
            if *json {
                println!("{}", serde_json::to_string_pretty(&polled)?);
            } else {
                polled.iter().for_each(|polled| println!("{polled}"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Scan { command } => {
            let (profiles, problems) = load_profiles(&cli.profiles);
            print_problems(&problems);
            runtime()?.block_on(async {
                let stop = stop_signal()?;
                scan::scan(command, &profiles, stop).await
            })
        }
        Command::Record { device, output, case } => {
            let loaded = load(cli)?;
            let into = output.as_deref().filter(|file| file.exists()).map(read_fixture).transpose()?;
            let fixture = runtime()?.block_on(record::record(&loaded.config, device, case, into))?;
            match output {
                Some(file) => record::save(file, &fixture.text()).with_context(|| format!("cannot write {}", file.display()))?,
                None => print!("{}", fixture.text()),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Log { link, level, time } => {
            if **time > MAX_FOR {
                bail!("found --for {time}, expected at most 24h");
            }
            let ask = control::Ask::Log { link: link.clone(), level: level.clone(), seconds: time.as_secs() };
            ask_daemon(cli, &ask)
        }
        Command::Buffer { command: BufferCommand::Status { json } } => {
            print!("{}", buffer::status(&load(cli)?.config, *json)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Reload => ask_daemon(cli, &control::Ask::Reload),
        Command::SupportBundle { output } => {
            support::write(&source(cli), output)?;
            println!("{}: look through it before you send it", output.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Convert { olds, out } => {
            let (profiles, problems) = load_profiles(&cli.profiles);
            print_problems(&problems);
            let good = convert::convert(olds, &profiles, &cli.profiles, out)?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Profile { command: ProfileCommand::Test { files } } => runtime()?.block_on(test_fixtures(cli, files)),
        Command::Simulate(args) => {
            let (profiles, problems) = load_profiles(&cli.profiles);
            print_problems(&problems);
            runtime()?.block_on(async {
                let stop = stop_signal()?;
                simulate::simulate(args, &profiles, stop).await
            })
        }
    }
}

fn source(cli: &Cli) -> Source {
    Source { config: cli.config.clone(), profiles: cli.profiles.clone() }
}

/// Asks the running daemon, and prints its answer.
fn ask_daemon(cli: &Cli, ask: &control::Ask) -> Result<ExitCode> {
    let buffer = load(cli)?.config.buffer.path;
    let answer = control::ask(&buffer, ask).with_context(|| unreachable(&buffer))?;
    println!("{}", answer.map_err(anyhow::Error::msg)?);
    Ok(ExitCode::SUCCESS)
}

/// Why the daemon of this buffer may give no answer.
fn unreachable(buffer: &Path) -> String {
    format!("cannot reach the daemon at {}: does it run with this configuration, and as this user?", control::socket(buffer).display())
}

fn load(cli: &Cli) -> Result<Loaded> {
    source(cli).load().map_err(|problems| {
        print_problems(&problems);
        anyhow::anyhow!("{} cannot be used", cli.config.display())
    })
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

fn read_fixture(file: &Path) -> Result<Fixture> {
    let content = read_limited(file, MAX_FIXTURE_BYTES).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    Fixture::read(&content).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))
}

/// One line for each fixture, and what differs below it.
async fn test_fixtures(cli: &Cli, files: &[PathBuf]) -> Result<ExitCode> {
    let (profiles, problems) = load_profiles(&cli.profiles);
    print_problems(&problems);
    let files = if files.is_empty() { replay::find(&cli.profiles) } else { files.to_vec() };
    if files.is_empty() {
        bail!("there is no fixture in {}", cli.profiles.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    let mut good = true;
    for file in &files {
        let played = replay::play_file(file, &profiles).await;
        good &= played.differences.is_empty();
        println!("{played}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For clap.
fn parity(text: &str) -> Result<Parity, String> {
    Parity::from_name(text).ok_or_else(|| "expected none, even or odd".to_owned())
}

/// One thread is enough for an edge box, and takes the least memory.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Turns true on SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let (send, receive) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    run::in_background(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens any more when the program is ending anyway.
        let _ = send.send(true);
    });
    Ok(receive)
}

/// Each SIGHUP asks for the configuration to be read again; what becomes of it is in the log.
fn reload_signal(asks: mpsc::Sender<Request>) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    run::in_background(async move {
        while hangup.recv().await.is_some() {
            // Nobody waits for this answer.
            let _ = asks.send(tokio::sync::oneshot::channel().0).await;
        }
    });
    Ok(())
}

/// Where journald takes the log, lines go to it with their fields; gives what waits for the last of them.
///
/// Not `EnvFilter`: its regular expressions are 0.4 MB of a program of 7.4 MB, as it ships.
fn init_log(format: LogFormat) -> Option<Flush> {
    let wanted = std::env::var("PATTOO_LOG").ok();
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let wrong = parsed.as_ref().and_then(|parsed| parsed.as_ref().err().map(ToString::to_string));
    let filter = parsed.and_then(Result::ok).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = tracing_subscriber::registry().with(filter);
    let mut flush = None;
    match (format, journal_layer()) {
        (LogFormat::Text, Some((layer, wait))) => {
            flush = Some(wait);
            logs.with(layer).init();
        }
        (LogFormat::Text, None) => logs.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        (LogFormat::Json, _) => logs.with(lines.json()).init(),
    }
    if let (Some(wrong), Some(wanted)) = (wrong, wanted) {
        tracing::warn!("PATTOO_LOG: found {wanted:?}, expected something like `info` or `pattoo_gateway=debug`: {wrong}; logging info");
    }
    flush
}

/// Where standard error is the journal and that can be reached.
fn journal_layer() -> Option<(Journal, Flush)> {
    if !journal::is_standard_error() {
        return None;
    }
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(journal::SOCKET).ok()?;
    let (layer, flush, lines) = journal::layer();
    run::in_thread("journal", move || journal::write(&socket, &lines)).ok()?;
    Some((layer, flush))
}
