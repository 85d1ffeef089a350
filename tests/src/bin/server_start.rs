//! Starts a whole server in a data folder, with TLS by an authority of its own, and stops it once it is ready. Says then by which authority
//! gateways know it, on a line `authority …`: the server says other things there, too.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use pattoo_server::broker::tls::fingerprint;
use pattoo_server::run::{Options, run};

/// How often it is looked whether the server is ready.
const LOOK_EVERY: Duration = Duration::from_millis(2);

const CONFIG: &str = "http: { listen: 127.0.0.1:0, anonymous: viewer }\nbroker: { listen: 127.0.0.1:0, tls: auto, plain: 127.0.0.1:0 }\n";

#[tokio::main]
async fn main() -> Result<()> {
    let data: PathBuf = std::env::args_os().nth(1).context("give a data folder")?.into();
    // Not below the data folder, where all that is written is watched.
    let other = tempfile::tempdir()?;
    let (config, ready) = (other.path().join("server.yaml"), other.path().join("ready.json"));
    std::fs::write(&config, CONFIG)?;
    let options = Options { config: Some(config), data: Some(data.clone()), ready_file: Some(ready.clone()) };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let is_ready = async {
        while !ready.exists() {
            looks.tick().await;
        }
    };
    run(options, is_ready).await?;
    let authority = fingerprint(&std::fs::read_to_string(data.join("tls/ca.pem"))?).context("no certificate in ca.pem")?;
    #[expect(clippy::print_stdout, reason = "this is what it is asked for")]
    {
        println!("authority {authority}");
    }
    Ok(())
}
