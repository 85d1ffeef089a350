//! The command line of `pattoo-server`: parse, set up logs, run, say how it ended.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pattoo_server::run;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Stores what Pattoo gateways send and serves it as charts.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGINT or SIGTERM.
    Run(RunArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Configuration file [default: /etc/pattoo/server.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is stored
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Write the bound addresses to this file, as JSON, once the server is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How logs look; PATTOO_LOG says how much is logged, like `info` or `pattoo_server=debug`
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    start_logs(args.log_format);
    // Before anything speaks TLS: with two providers linked in, rustls would not choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: RunArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = run::Options { config: args.config, data: args.data, ready_file: args.ready_file };
    let result = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        run::run(options, stop).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

fn start_logs(format: LogFormat) {
    // The broker's library reports its clients at info; ours says what matters.
    let wanted = std::env::var("PATTOO_LOG").ok();
    let parsed = wanted.as_deref().map(EnvFilter::try_new);
    let wrong = parsed.as_ref().and_then(|parsed| parsed.as_ref().err().map(ToString::to_string));
    let filter = parsed.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new("info,mqtt5=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => logs.json().init(),
    }
    if let (Some(wrong), Some(wanted)) = (wrong, wanted) {
        tracing::warn!("PATTOO_LOG: found {wanted:?}, expected something like `info` or `pattoo_server=debug`: {wrong}; logging info");
    }
}
