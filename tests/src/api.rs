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

    /// Any request, with headers and a JSON body; gives status, cookie to send back, and body.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Result<(u16, Option<String>, String)> {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = body.map(Value::to_string);
        if text.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut answer = agent.run(request.body(text.unwrap_or_default())?)?;
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok()).and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.map(str::to_owned);
        Ok((answer.status().as_u16(), cookie, answer.body_mut().read_to_string()?))
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
