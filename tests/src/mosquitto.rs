//! Mosquitto, a broker that we did not write, as a child process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::{PATIENCE, Program};
use crate::wait_for;

/// A loopback port that was free a moment ago: mosquitto cannot say which one it would take by itself.
///
/// # Errors
/// No port can be had.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Mosquitto with this configuration, kept in this folder, once it listens there.
///
/// # Errors
/// It is not installed, or does not get ready.
pub fn start(folder: &Path, config: &str, address: SocketAddr) -> Result<Program> {
    let file = folder.join("mosquitto.conf");
    std::fs::write(&file, config)?;
    // Debian puts it where only root's PATH leads.
    let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
    let program = program.context("mosquitto is missing: tests/run installs it")?;
    let mut broker = Program::start("mosquitto", Command::new(program).arg("-c").arg(&file))?;
    wait_for("mosquitto to listen", PATIENCE, || TcpStream::connect(address).ok()).with_context(|| broker.kill().join("\n"))?;
    Ok(broker)
}

/// What a broker of this machine keeps when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing: all is in memory.
    Nothing,
    /// What its files hold, which it writes at each change.
    Files,
}

/// A broker that takes anybody, and can be killed and started again, each time on another port.
pub struct Mosquitto {
    folder: PathBuf,
    keeps: Keeps,
    program: Program,
    /// Where it listens now.
    pub address: SocketAddr,
}

impl Mosquitto {
    /// Starts it, with its files in this folder.
    ///
    /// # Errors
    /// It is not installed, or does not get ready.
    pub fn start(folder: &Path, keeps: Keeps) -> Result<Self> {
        let (program, address) = launch(folder, keeps)?;
        Ok(Self { folder: folder.to_owned(), keeps, program, address })
    }

    /// SIGKILL, and what it kept goes too where `forget` says so; then it is started again.
    ///
    /// # Errors
    /// It does not get ready, or its files cannot be deleted.
    pub fn kill(&mut self, forget: bool) -> Result<()> {
        self.program.kill();
        if forget && self.keeps == Keeps::Files {
            std::fs::remove_dir_all(kept(&self.folder))?;
        }
        (self.program, self.address) = launch(&self.folder, self.keeps)?;
        Ok(())
    }
}

fn kept(folder: &Path) -> PathBuf {
    folder.join("mosquitto")
}

fn launch(folder: &Path, keeps: Keeps) -> Result<(Program, SocketAddr)> {
    let address = free_port()?;
    let persistence = match keeps {
        Keeps::Nothing => "persistence false\n".to_owned(),
        Keeps::Files => {
            std::fs::create_dir_all(kept(folder))?;
            // Root would become a user who cannot enter the folder.
            let at = kept(folder);
            format!("user root\npersistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n", at.display())
        }
    };
    let config = format!("listener {} 127.0.0.1\nallow_anonymous true\n{persistence}", address.port());
    Ok((start(folder, &config, address)?, address))
}
