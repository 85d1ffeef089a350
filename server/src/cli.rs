//! The command line of `pattoo-server`: parse, set up logs, run, say how it ended. Shell.

mod backup;
mod files;
mod migrate;
mod people;
mod translation;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::gateways::{self, Means, Wanted};
use crate::{broker, run};

/// Stores what Pattoo gateways send and serves it as charts.
#[derive(Parser)]
#[command(name = "pattoo-server", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGINT or SIGTERM.
    Run(RunArgs),
    /// Validate the configuration; exit status 1 when it is refused
    Check(backup::CheckArgs),
    /// Copy all that is stored, with users and accounts, into a new folder or .tar file; the server may run
    Backup(backup::BackupArgs),
    /// Make a data folder of a backup, all or nothing; that folder must not be there, or be empty
    Restore(backup::RestoreArgs),
    /// Accounts of gateways at the embedded broker; a running server follows at once
    Gateway {
        #[command(subcommand)]
        command: GatewayCommand,
    },
    /// Users of page and API; a running server follows at once
    User {
        #[command(subcommand)]
        command: people::UserCommand,
    },
    /// API tokens of users; a running server follows at once
    Token {
        #[command(subcommand)]
        command: people::TokenCommand,
    },
    /// What points and agent programs are called in people's languages; a running server follows at once
    Translation {
        #[command(subcommand)]
        command: translation::TranslationCommand,
    },
    /// Write readings to a .csv or .parquet file; the server must not run
    Export(files::ExportArgs),
    /// Store the readings of a .csv or .parquet file, all or none; the server must not run
    Import(files::ImportArgs),
    /// Move history to VictoriaMetrics as `store` in the configuration says; goes on where it was interrupted; the server must not run
    #[command(after_help = HISTORY)]
    Migrate(migrate::MigrateArgs),
}

/// What has to be known before history goes elsewhere.
const HISTORY: &str = "\
De-duplication: start VictoriaMetrics with -dedup.minScrapeInterval=1ms, of a cluster both vmstorage and vmselect. Otherwise a resend after a
crash would count twice; the server writes a probe twice and refuses to start.
Retention: -retentionPeriod must reach at least as far back as `retention` of the server. What VictoriaMetrics drops stays here.
Replication: of a cluster of 3 vmstorage or more, start vminsert and vmselect with -replicationFactor=2; then one may be away. It does not make
lost copies anew. Members are added to the lists of both; old data stays where it is.
Network: there is no TLS between its parts, nor from here: use loopback or a private network. Several servers may share one, each is told apart.
Backup: vmbackup for VictoriaMetrics, and the data folder of the server, which has the names of all series, the newest days and what
VictoriaMetrics cannot keep (text, corrections). History without the data folder is numbers without names.
Back again: there is no way but export and import; with `store: embedded` the server refuses a data folder that lacks its history.";

#[derive(Subcommand)]
enum GatewayCommand {
    /// Make an account, and print what the gateway needs
    Add(AddArgs),
    /// Show all accounts
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End an account: its session is closed within a second and not let in again
    Revoke {
        /// Name of the gateway
        #[arg(value_parser = gateway_name)]
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Args)]
struct PlaceArgs {
    /// Configuration file of the server [default: /etc/pattoo/server.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is stored
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct AddArgs {
    /// Name of the gateway
    #[arg(value_parser = gateway_name)]
    name: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Take a password of 12 to 256 bytes from standard input, instead of a random token
    #[arg(long, conflicts_with_all = ["certificate", "client_ca"])]
    password_stdin: bool,
    /// Sign a client certificate with the server's own authority, instead of a random token
    #[arg(long, conflicts_with = "client_ca")]
    certificate: bool,
    /// Take certificates of `broker.tls.client_ca` whose common name is the gateway's, instead of a random token
    #[arg(long)]
    client_ca: bool,
    /// How many days the certificate is good
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500), requires = "certificate")]
    days: u32,
    /// Name or address under which the gateway reaches this server [default: the first of `broker.tls.names`, or this machine's]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Write the files into this folder, for their owner only, instead of printing them
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace the account that there is; what it was used with is ended
    #[arg(long)]
    replace: bool,
    /// Make an account that is no gateway but may send commands to these gateways, and read their answers and status
    #[arg(long, value_name = "GATEWAYS", value_delimiter = ',', value_parser = gateway_name)]
    commands: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn gateway_name(name: &str) -> Result<String, pattoo_wire::NameError> {
    pattoo_wire::check_name(name).map(|()| name.to_owned())
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

/// Runs the program with these arguments (the first is its name). Exit status: 0 done, 1 failed, 2 usage.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        Err(error) => {
            // Help and version are errors to clap, but no failures.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let args = match command {
        Command::Run(args) => args,
        Command::Check(args) => return backup::check(args),
        Command::Backup(args) => return told(backup::backup(args)),
        Command::Restore(args) => return told(backup::restore(args)),
        Command::Gateway { command } => return told(gateway(command)),
        Command::User { command } => return told(people::user(command)),
        Command::Token { command } => return told(people::token(command)),
        Command::Translation { command } => return told(translation::translation(command)),
        Command::Export(args) => return told(files::export(args)),
        Command::Import(args) => return told(files::import(args)),
        Command::Migrate(args) => return told(migrate::migrate(args)),
    };
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

/// Prints what came of a command.
fn told(text: anyhow::Result<String>) -> ExitCode {
    match text.and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "pattoo-server: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that this program takes, for manuals and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn config(place: PlaceArgs) -> anyhow::Result<Config> {
    run::load(&run::Options { config: place.config, data: place.data, ready_file: None })
}

/// Does what is asked about accounts; gives what to print.
fn gateway(command: GatewayCommand) -> anyhow::Result<String> {
    Ok(match command {
        GatewayCommand::Add(args) => {
            let means = match (args.password_stdin, args.certificate, args.client_ca) {
                (true, ..) => Means::Password(password()?),
                (_, true, _) => Means::Certificate { days: args.days },
                (.., true) => Means::ClientCa,
                _ => Means::Token,
            };
            let wanted = Wanted { name: args.name, means, host: args.host, out: args.out, replace: args.replace, commands: args.commands };
            let given = gateways::add(&config(args.place)?, &wanted)?;
            if args.json { serde_json::to_string_pretty(&given)? + "\n" } else { given.text() }
        }
        GatewayCommand::List { place, json } => {
            let listed = gateways::list(&config(place)?)?;
            if json { serde_json::to_string_pretty(&listed)? + "\n" } else { gateways::table(&listed) }
        }
        GatewayCommand::Revoke { name, place } => match gateways::revoke(&config(place)?, &name)? {
            true => format!("gateway {name}: revoked; a running server ends its session within a second\n"),
            false => format!("gateway {name}: was revoked before\n"),
        },
    })
}

/// One line from standard input.
fn password() -> anyhow::Result<String> {
    let (_, most) = broker::accounts::PASSWORD_BYTES;
    let mut text = String::new();
    // Room for the end of the line, and for one byte that shows that it is too long.
    std::io::stdin().take(most as u64 + 3).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
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
    // The broker's library has a line for each thing that a client does wrong; ours are bounded and say more.
    let wanted = std::env::var("PATTOO_LOG").ok();
    let parsed = wanted.as_deref().map(EnvFilter::try_new);
    let wrong = parsed.as_ref().and_then(|parsed| parsed.as_ref().err().map(ToString::to_string));
    let filter = parsed.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new("info,mqtt5=error"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => logs.json().init(),
    }
    if let (Some(wrong), Some(wanted)) = (wrong, wanted) {
        tracing::warn!("PATTOO_LOG: found {wanted:?}, expected something like `info` or `pattoo_server=debug`: {wrong}; logging info");
    }
}
