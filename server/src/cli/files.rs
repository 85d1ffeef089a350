//! `pattoo-server export` and `import`.

use std::path::PathBuf;

use clap::Args;

use super::{PlaceArgs, config, gateway_name};
use crate::{run, transfer};

#[derive(Args)]
pub(super) struct ExportArgs {
    /// File to make; its name ends in .csv or .parquet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Only of this gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Only of devices of this name
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Not before this time, like 2026-11-30T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = transfer::time_ms)]
    from: Option<i64>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = transfer::time_ms)]
    to: Option<i64>,
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// File to read; its name ends in .csv or .parquet. Columns as in an export: time, device, point and value are needed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Gateway of rows that name none
    #[arg(long, value_name = "NAME", value_parser = gateway_name)]
    gateway: Option<String>,
}

/// Writes what is wanted to a file; gives what to print.
pub(super) fn export(args: ExportArgs) -> anyhow::Result<String> {
    let store = run::open_store(&config(args.place)?)?;
    let wanted = transfer::Wanted { gateway: args.gateway, device: args.device, from_ms: args.from, to_ms: args.to };
    let readings = transfer::export(store.as_ref(), &wanted, &args.file, &mut std::io::stderr())?;
    Ok(format!("{}: {readings} readings\n", args.file.display()))
}

/// Stores what a file holds; gives what to print.
pub(super) fn import(args: ImportArgs) -> anyhow::Result<String> {
    let store = run::open_store(&config(args.place)?)?;
    let done = transfer::import(store.as_ref(), &args.file, args.gateway.as_deref(), &mut std::io::stderr())?;
    let (readings, series, replaced) = (done.readings, done.new_series, done.replaced);
    Ok(format!("{}: {readings} readings stored, {series} new series, {replaced} readings replaced\n", args.file.display()))
}
