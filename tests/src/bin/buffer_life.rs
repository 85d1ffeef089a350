//! Lives the life of a buffer on its own, so that a test can watch what it does to its disk, fail it, and kill it.

use anyhow::{Context, Result};
use pattoo_tests::disk::life::Life;

fn main() -> Result<()> {
    let life = std::env::args().nth(1).context("give a life as JSON")?;
    let life: Life = serde_json::from_str(&life)?;
    life.run(&mut std::io::stdout().lock())
}
