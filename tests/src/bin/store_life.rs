//! Lives the life of a server's store on its own, so that a test can watch what it does to its disk, and cut its power.

use anyhow::{Context, Result};
use pattoo_tests::disk::server_life::ServerLife;

fn main() -> Result<()> {
    let life = std::env::args().nth(1).context("give a life as JSON")?;
    let life: ServerLife = serde_json::from_str(&life)?;
    life.run(&mut std::io::stdout().lock())
}
