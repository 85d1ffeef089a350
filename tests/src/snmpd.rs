//! An SNMP agent of net-snmp, a peer that we did not write, as a child process; and net-snmp's own tools, to ask it what it holds.

use std::fmt::Write;
use std::net::UdpSocket;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::program::Program;
use crate::{python, root};

/// A running agent; it ends with this value.
pub struct Snmpd {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    conf: String,
    folder: TempDir,
    program: Option<Program>,
}

impl Snmpd {
    /// Starts an agent with this configuration, beside its address, and waits until it listens. `objects` are served as they are:
    /// `OID type value` by line, below 1.3.6.1.4.1.8072.9999.9999.
    ///
    /// # Errors
    /// There is no snmpd, or it does not start.
    pub fn start(conf: &str, objects: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        // snmpd takes no port 0 and says none. Taken by others in between it does not start, and the test fails and says so.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = folder.path().join("objects");
        std::fs::write(&file, objects)?;
        let mut text = format!("agentaddress udp:127.0.0.1:{port}\n{conf}\n");
        if !objects.is_empty() {
            let script = root().join("tests/peers/snmp_pass.py");
            let (python, script, file) = (python()?, script.display(), file.display());
            writeln!(text, "pass_persist .1.3.6.1.4.1.8072.9999.9999 {} {script} {file}", python.display())?;
        }
        let mut agent = Self { port, conf: text, folder, program: None };
        agent.begin()?;
        Ok(agent)
    }

    fn begin(&mut self) -> Result<()> {
        let kept = self.folder.path().join("kept");
        std::fs::create_dir_all(&kept)?;
        let conf = self.folder.path().join("snmpd.conf");
        std::fs::write(&conf, &self.conf)?;
        let mut command = Command::new("snmpd");
        command.args(["-f", "-Lo", "-c"]).arg(&conf).arg("-p").arg(self.folder.path().join("pid"));
        command.env("MIBS", "").env("SNMPCONFPATH", &kept).env("SNMP_PERSISTENT_DIR", &kept);
        let program = Program::start("snmpd", &mut command).context("apt-get install snmpd")?;
        program.wait_line("snmpd to listen", |line| line.starts_with("NET-SNMP version"))?;
        self.program = Some(program);
        Ok(())
    }

    /// Ends it as a unit's stop does; it writes down how often it was started.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut program) = self.program.take() {
            crate::program::signal(program.id(), "TERM")?;
            program.wait()?;
        }
        Ok(())
    }

    /// Starts it again: as the same engine, once more booted, or as another one.
    ///
    /// # Errors
    /// It does not end, or not start.
    pub fn restart(&mut self, same_engine: bool) -> Result<()> {
        self.stop()?;
        if !same_engine {
            std::fs::remove_dir_all(self.folder.path().join("kept"))?;
        }
        self.begin()
    }

    /// What a tool of net-snmp says, by line.
    ///
    /// # Errors
    /// There is no such tool, or the agent does not answer it.
    pub fn says(&self, tool: &str, args: &[&str], oids: &[&str]) -> Result<Vec<String>> {
        let mut command = Command::new(tool);
        command.args(["-v2c", "-c", "public"]).args(args).arg(format!("127.0.0.1:{}", self.port)).args(oids).env("MIBS", "");
        let output = command.output().with_context(|| format!("apt-get install snmp, for {tool}"))?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end().to_owned()).collect())
    }
}
