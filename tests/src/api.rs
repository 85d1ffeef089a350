//! A client of the server's HTTP API, as an integrator would write it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The API of one server.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Api {
    /// GET of a path, as text and status.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let mut answer = agent.get(format!("http://{}{path}", self.address)).call()?;
        Ok((answer.status().as_u16(), answer.body_mut().with_config().limit(256 << 20).read_to_string()?))
    }

    /// GET of JSON that must succeed.
    ///
    /// # Errors
    /// Any status but 200, or not JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        match self.get(path)? {
            (200, body) => serde_json::from_str(&body).with_context(|| format!("GET {path} gave {body}")),
            (status, body) => bail!("GET {path} gave {status}: {body}"),
        }
    }
}
