//! `simulate`: its arguments, and what it says once it listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::config::Profiles;
use crate::link::serial::SerialLine;
use crate::profile::{Parity, Profile};
use crate::simulate::{self, Frames, bacnet};

/// Highest instance of a BACnet device.
const MAX_INSTANCE: u32 = 4_194_302;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Profile ids; one for all units, or one per unit; with --bacnet one per device
    #[arg(required = true)]
    profile: Vec<String>,
    /// Address to listen on for Modbus TCP; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:5020")]
    listen: SocketAddr,
    /// Listen there for RTU frames instead, as a serial server does
    #[arg(long)]
    rtu_over_tcp: bool,
    /// Serve this serial line instead
    #[arg(long, conflicts_with_all = ["listen", "rtu_over_tcp"])]
    serial: Option<PathBuf>,
    /// Speed of the serial line in bits per second
    #[arg(long, default_value_t = 9600, requires = "serial")]
    baud: u32,
    /// Parity of the serial line: none, even or odd
    #[arg(long, default_value = "none", value_parser = super::parity, requires = "serial")]
    parity: Parity,
    /// Unit ids
    #[arg(long, value_delimiter = ',', default_value = "1")]
    units: Vec<u8>,
    /// Be BACnet/IP devices at this address instead, such as 0.0.0.0:47808; the second and further ones are on a network behind it
    #[arg(long, conflicts_with_all = ["listen", "rtu_over_tcp", "serial", "units"])]
    bacnet: Option<SocketAddr>,
    /// Hear also what is sent to everybody at this address, where --bacnet is not 0.0.0.0, such as 10.0.0.255:47808
    #[arg(long, requires = "bacnet")]
    broadcast: Option<SocketAddr>,
    /// Instance of the first BACnet device; the others count on
    #[arg(long, default_value_t = 1001, requires = "bacnet")]
    device: u32,
}

/// Serves profiles until interrupted. The first line says where, so that port 0 is of use.
pub(super) async fn simulate(args: &SimulateArgs, profiles: &Profiles, mut stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let stopped = async move {
        // An error means that nobody can tell any more: stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Some(at) = args.bacnet {
        return as_bacnet(args, at, profiles, stopped).await;
    }
    let served = units(args, profiles)?;
    if let Some(path) = &args.serial {
        println!("listening {}", path.display());
        simulate::serve_serial(&SerialLine::new(path.clone(), args.baud, args.parity), served, stopped).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let listen = args.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening {}", listener.local_addr()?);
    let frames = if args.rtu_over_tcp { Frames::Rtu } else { Frames::Tcp };
    simulate::serve(listener, frames, served, stopped).await?;
    Ok(ExitCode::SUCCESS)
}

/// The profile of each unit.
fn units(args: &SimulateArgs, profiles: &Profiles) -> Result<Vec<(u8, Arc<Profile>)>> {
    let (ids, units) = (&args.profile, &args.units);
    if ids.len() != 1 && ids.len() != units.len() {
        bail!("{} profiles for {} units: give one for all, or one per unit", ids.len(), units.len());
    }
    units.iter().zip(ids.iter().cycle()).map(|(unit, id)| Ok((*unit, known(profiles, id)?))).collect()
}

async fn as_bacnet(args: &SimulateArgs, at: SocketAddr, profiles: &Profiles, stopped: impl Future<Output = ()>) -> Result<ExitCode> {
    let devices = (args.device..).zip(&args.profile).map(|(instance, id)| Ok((instance, known(profiles, id)?)));
    let devices = devices.collect::<Result<Vec<_>>>()?;
    if devices.last().is_some_and(|(last, _)| *last > MAX_INSTANCE) {
        bail!("found --device {}, expected instances up to {MAX_INSTANCE}", args.device);
    }
    let plant = bacnet::Plant::of(&devices)?;
    let socket = UdpSocket::bind(at).await.with_context(|| format!("cannot listen on {at}"))?;
    let own = socket.local_addr()?;
    let broadcast = match args.broadcast {
        // Port 0 is the one that was just taken.
        Some(mut to) => {
            if to.port() == 0 {
                to.set_port(own.port());
            }
            Some(UdpSocket::bind(to).await.with_context(|| format!("cannot listen on {to}"))?)
        }
        None => None,
    };
    println!("listening {own}");
    bacnet::serve(socket, broadcast, plant, stopped).await?;
    Ok(ExitCode::SUCCESS)
}

fn known(profiles: &Profiles, id: &str) -> Result<Arc<Profile>> {
    let names = || profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    profiles.get(id).cloned().with_context(|| format!("there is no profile {id:?}; there are: {}", names()))
}
