//! The MQTT client around the [`Uplink`](super::Uplink) state machine. A shell file: sockets, files, clock and log.
//!
//! Spawns nothing: [`Client::run`] is one future for `run` to give a task. Inside it two loops run side by side: [`pump::pump`] polls the
//! connection and never waits for anything else, [`Session::run`] decides and publishes.
//!
//! The buffer is the session: a connection starts clean, and what was on its way when it broke is sent again from the buffer. The
//! broker's PUBACK moves nothing but the client's window; only the server's acknowledgement releases.

mod commands;
mod ends;
mod pump;
mod session;
mod setup;
mod status;

use pattoo_wire::Warning;
use rumqttc::v5::{AsyncClient, EventLoop};
use tokio::sync::{mpsc, watch};

pub use self::commands::{Counter, Window, window};
pub use self::ends::Ends;
use self::pump::{Route, pump};
use self::session::{Outside, Session};
use super::Policy;
pub use crate::broker::SetupError;
use crate::buffer::worker::Handle;
use crate::config::Config;
use crate::health;
use crate::pulse::Pulse;
use crate::timebase::{ServerTime, State};

/// Events that wait between the two loops; one more makes the connection wait, and so the broker.
const MAX_EVENTS: usize = 64;

/// The health of all links and devices, kept current by `run`.
pub type Health = watch::Receiver<health::Health>;

/// What the session has to do with time.
#[derive(Debug)]
pub struct Time {
    /// Told the server's time whenever it is heard.
    pub heard: watch::Sender<Option<ServerTime>>,
    /// What is known of it, for the hello and the status.
    pub state: watch::Receiver<State>,
}

/// What the session tells the server of the gateway.
#[derive(Debug)]
pub struct Told {
    /// How its links and devices are.
    pub health: Health,
    /// What is going to be trouble.
    pub warnings: watch::Receiver<Vec<Warning>>,
    /// What time it is.
    pub time: Time,
}

/// An MQTT client that is set up but not connected.
pub struct Client {
    gateway: String,
    policy: Policy,
    compress: bool,
    client: AsyncClient,
    eventloop: EventLoop,
    route: Route,
    ends: Ends,
    pulse: Pulse,
}

impl Client {
    /// Reads the uplink's configuration and the files that it names. Connects nothing.
    ///
    /// # Errors
    /// A URL, or a file of credentials, certificates or keys, that cannot be used.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let Config { gateway, uplink, .. } = config;
        let mut ends = Ends::default();
        let options = setup::options(gateway, uplink, &status::last_will(), &mut ends)?;
        let first = options.first().cloned().ok_or(SetupError::NoBroker)?;
        let (client, eventloop) = AsyncClient::new(first, setup::queue_len(uplink.max_unacknowledged));
        let route = Route::new(options, uplink.prefer_after);
        Ok(Self {
            gateway: gateway.clone(),
            policy: Policy::from(uplink),
            compress: uplink.compress,
            client,
            eventloop,
            route,
            ends,
            pulse: Pulse::default(),
        })
    }

    /// When the certificates end that it uses and is shown.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends.clone()
    }

    /// The same, that shows that it is at work.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// Sends what the buffer holds until `shutdown` becomes true or its sender is gone, or the buffer has stopped. Ends at most
    /// [`session::FAREWELL`] later.
    /// Listens for commands where there is a window for them.
    pub async fn run(self, buffer: Handle, told: Told, window: Option<Window>, shutdown: watch::Receiver<bool>) {
        let (events, inbox) = mpsc::channel(MAX_EVENTS);
        let (leave, leaves) = mpsc::channel(1);
        let session =
            Session::new(self.gateway, self.policy, self.compress, self.client, leave, Outside { buffer, told, window, pulse: self.pulse });
        tokio::select! {
            () = pump(self.eventloop, self.route, events, leaves) => {}
            () = session.run(inbox, shutdown) => {}
        }
    }
}

#[cfg(test)]
mod tests;
