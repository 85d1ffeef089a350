//! An agent of the Python Pattoo with its own library, a peer that we did not write, as a child process; and posts as its wire is
//! documented, for what that library never makes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::program::Program;
use crate::{python, root};

/// A running agent; it ends with this value.
pub struct OldAgent {
    program: Program,
    asked: Cell<u32>,
}

/// What a round of an agent came to.
#[derive(Debug)]
pub struct Round {
    /// Whether the server answered 200.
    pub posted: bool,
    /// Files in its cache afterwards.
    pub cached: u64,
    /// Its id.
    pub agent_id: String,
    /// What it posted.
    pub body: Value,
}

impl OldAgent {
    /// Starts an agent that keeps its id and its cache in this folder and posts to 127.0.0.1 at this port.
    ///
    /// # Errors
    /// There is no Python with PattooShared.
    pub fn start(folder: &Path, port: u16) -> Result<Self> {
        let mut command = Command::new(python()?);
        command.arg(root().join("tests/peers/pattoo_agent.py")).arg(folder).arg(port.to_string());
        let program = Program::start("PattooShared", &mut command)?;
        program.wait_line("PattooShared to be loaded", |line| line == "ready" || line.contains("Error"))?;
        Ok(Self { program, asked: Cell::new(0) })
    }

    /// One round: it posts these datapoints as `tests/peers/pattoo_agent.py` wants them, and then what it had to keep.
    ///
    /// # Errors
    /// It has ended.
    pub fn round(&self, program: &str, datapoints: &Value) -> Result<Round> {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        self.program.say(&json!({ "program": program, "interval_s": 300, "datapoints": datapoints }).to_string())?;
        let start = format!("answer {number} ");
        let line = self.program.wait_line("a round of the old agent", |line| line.starts_with(&start))?;
        let answer: Value = serde_json::from_str(line.strip_prefix(&start).unwrap_or_default())?;
        let posted = answer["posted"].as_bool().with_context(|| format!("{answer}"))?;
        let cached = answer["cached"].as_u64().with_context(|| format!("{answer}"))?;
        Ok(Round { posted, cached, agent_id: answer["agent_id"].as_str().unwrap_or_default().to_owned(), body: answer["body"].clone() })
    }
}

/// Posts bytes as an agent does; gives status and text.
///
/// # Errors
/// The server cannot be reached.
pub fn post(address: SocketAddr, body: &[u8]) -> Result<(u16, String)> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let url = format!("http://{address}/pattoo/api/v1/agent/receive/some-agent");
    let mut answer = agent.post(url).content_type("application/json").send(body)?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}
