//! Agents of snmpsim, a peer that we did not write, serving recordings, as a child process.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;
use crate::python;

/// A running snmpsim; it ends with this value.
pub struct Snmpsim {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    _program: Program,
}

impl Snmpsim {
    /// Serves each `<community>.snmprec` of this folder, and waits until it listens.
    ///
    /// # Errors
    /// There is no Python with snmpsim, or it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        // It cannot say which port it took. Another program may take this one first: then it does not start, and says so.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let responder = python()?.with_file_name("snmpsim-command-responder");
        let mut command = Command::new(responder);
        command.arg(format!("--data-dir={}", folder.display())).arg(format!("--agent-udpv4-endpoint=127.0.0.1:{port}"));
        // Started by root it wants to know as whom to go on.
        let own = |what| -> Result<String> { Ok(String::from_utf8(Command::new("id").arg(what).output()?.stdout)?.trim().to_owned()) };
        command.arg(format!("--cache-dir={}", folder.join("cache").display()));
        command.arg(format!("--process-user={}", own("-un")?)).arg(format!("--process-group={}", own("-gn")?));
        let program = Program::start("snmpsim", &mut command)?;
        program.wait_line("snmpsim to listen", |line| line.contains("Listening at UDP/IPv4 endpoint")).context("snmpsim")?;
        Ok(Self { port, _program: program })
    }
}
