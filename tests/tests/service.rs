//! The daemons below a service manager: what they tell it, and how the gateway takes over a new configuration. The manager is this test, which
//! speaks systemd's protocol; systemd itself is in `packaging_system`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::program::{PATIENCE, Program, binary, signal};
use pattoo_tests::{profiles, wait_for};
use tempfile::TempDir;

/// Three times in it the watchdog is fed.
const WATCHDOG: Duration = Duration::from_secs(3);

/// The end of the protocol that a service manager has; it reads all the time, as one does.
struct Manager(Receiver<String>);

impl Manager {
    fn new(folder: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(folder.join("notify"))?;
        let (messages, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if messages.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self(receiver))
    }

    fn over(folder: &Path, command: &mut Command) {
        command.env("NOTIFY_SOCKET", folder.join("notify")).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    }

    /// The next message that has this line; what comes before it is let go.
    fn told(&self, line: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(message) = self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if message.lines().any(|told| told == line) {
                return Ok(message);
            }
            seen.push(message);
        }
        bail!("the manager was not told {line:?}, but {seen:?}")
    }

    /// Whether nothing comes for so long.
    fn hears_nothing(&self, within: Duration) -> bool {
        self.0.recv_timeout(within).is_err()
    }
}

fn config(folder: &Path, every: &str) -> String {
    format!(
        "gateway: plant7\nuplink: {{ url: 'mqtt://127.0.0.1:1' }}\nbuffer: {{ path: {} }}\nbatch: {{ every: 100ms }}\ndevices:\n  - {{ name: host, \
         profile: linux-host, every: {every} }}\n",
        folder.join("buffer").display()
    )
}

fn gateway(folder: &Path) -> Result<Command> {
    let mut command = Command::new(binary("pattoo-gateway")?);
    command.arg("--config").arg(folder.join("gateway.yaml")).arg("--profiles").arg(profiles());
    Ok(command)
}

fn reload(folder: &Path) -> Result<(Output, String)> {
    let output = gateway(folder)?.arg("reload").output()?;
    let text = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    Ok((output, text))
}

#[test]
fn a_gateway_tells_its_manager_how_it_is_and_takes_over_what_is_good() -> Result<()> {
    let folder = TempDir::new()?;
    let (at, manager) = (folder.path(), Manager::new(folder.path())?);
    let write = |text: &str| std::fs::write(at.join("gateway.yaml"), text);
    write(&config(at, "200ms"))?;
    let mut command = gateway(at)?;
    Manager::over(at, command.arg("run"));
    let mut program = Program::start("gateway", &mut command)?;
    let told = manager.told("READY=1").with_context(|| program.tail())?;
    ensure!(told.contains("STATUS=plant7: 1 devices on 1 links"), "{told}");
    for _ in 0..3 {
        manager.told("WATCHDOG=1").with_context(|| program.tail())?;
    }

    // One that is broken, as a whole or in one place, changes nothing and says where.
    for (broken, place) in [
        (config(at, "200ms").replace("devices:", "devces:"), "gateway.yaml:5:"),
        (config(at, "fast"), "gateway.yaml:6:"),
        (config(at, "200ms").replace("linux-host", "linux-hast"), "gateway.yaml:6:"),
        (config(at, "200ms") + "  - { name: host, profile: linux-host }\n", "gateway.yaml:7:"),
    ] {
        write(&broken)?;
        let (output, text) = reload(at)?;
        ensure!(!output.status.success() && text.contains(place), "{broken}\n{text}");
    }
    signal(program.id(), "HUP")?;
    // The second line that names it: the first was for the command.
    let refusals = || program.output().iter().filter(|line| line.contains("not taken over") && line.contains("gateway.yaml:7:")).count();
    wait_for("the refusal of what SIGHUP asked for", PATIENCE, || (refusals() >= 2).then_some(())).with_context(|| program.tail())?;

    write(&config(at, "300ms").replace("plant7", "plant8"))?;
    let (output, text) = reload(at)?;
    ensure!(output.status.success() && text.contains("taken over: 1 devices"), "{text}");
    let told = manager.told("RELOADING=1")?;
    ensure!(told.contains("MONOTONIC_USEC="), "{told}");
    let told = manager.told("READY=1")?;
    ensure!(told.contains("STATUS=plant8"), "{told}");
    manager.told("WATCHDOG=1")?;
    write(&config(at, "300ms"))?;
    signal(program.id(), "HUP")?;
    ensure!(manager.told("READY=1")?.contains("STATUS=plant7"));

    signal(program.id(), "TERM")?;
    manager.told("STOPPING=1")?;
    ensure!(program.wait()?.success(), "{}", program.tail());
    Ok(())
}

#[test]
fn a_daemon_that_hangs_is_not_called_alive() -> Result<()> {
    let folder = TempDir::new()?;
    let (at, manager) = (folder.path(), Manager::new(folder.path())?);
    std::fs::write(at.join("gateway.yaml"), config(at, "200ms"))?;
    let mut command = gateway(at)?;
    Manager::over(at, command.arg("run"));
    let mut program = Program::start("gateway", &mut command)?;
    manager.told("WATCHDOG=1").with_context(|| program.tail())?;
    signal(program.id(), "STOP")?;
    // What was on its way, then nothing in the time in which a manager would act.
    while !manager.hears_nothing(Duration::from_secs(1)) {}
    ensure!(manager.hears_nothing(WATCHDOG), "a stopped process told something");
    signal(program.id(), "CONT")?;
    manager.told("WATCHDOG=1").with_context(|| program.tail())?;
    program.kill();
    Ok(())
}

/// A manager that is held up itself must not hold up a gateway of one thread.
#[test]
fn a_manager_that_does_not_read_holds_up_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let at = folder.path();
    let socket = UnixDatagram::bind(at.join("notify"))?;
    let full = || -> Result<()> {
        let other = UnixDatagram::unbound()?;
        other.set_nonblocking(true)?;
        other.connect(at.join("notify"))?;
        while other.send(b"X=1").is_ok() {}
        Ok(())
    };
    full()?;
    std::fs::write(at.join("gateway.yaml"), config(at, "200ms"))?;
    let mut command = gateway(at)?;
    Manager::over(at, command.arg("run"));
    let mut program = Program::start("gateway", &mut command)?;
    let stored = || {
        let output = gateway(at).ok()?.args(["buffer", "status", "--json"]).output().ok()?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        told["batches"].as_u64().filter(|batches| *batches > 0)
    };
    wait_for("readings in the buffer of a gateway that nobody hears", PATIENCE, stored).with_context(|| program.tail())?;

    // Once it reads, it hears what it must know.
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut message = [0; 4096];
    let heard = std::iter::from_fn(|| socket.recv(&mut message).ok().map(|length| message[..length].starts_with(b"READY=1")));
    ensure!(heard.into_iter().any(|ready| ready), "{}", program.tail());

    full()?;
    signal(program.id(), "TERM")?;
    ensure!(program.wait()?.success(), "{}", program.tail());
    Ok(())
}

#[test]
fn a_server_tells_its_manager_how_it_is() -> Result<()> {
    let folder = TempDir::new()?;
    let (at, manager) = (folder.path(), Manager::new(folder.path())?);
    std::fs::write(at.join("server.yaml"), "http: { listen: 127.0.0.1:0 }\nbroker: { listen: 127.0.0.1:0 }\nagents: { listen: off }\n")?;
    let mut command = Command::new(binary("pattoo-server")?);
    Manager::over(at, command.arg("run").arg("--config").arg(at.join("server.yaml")).arg("--data").arg(at.join("data")));
    let mut program = Program::start("server", &mut command)?;
    let told = manager.told("READY=1").with_context(|| program.tail())?;
    ensure!(told.contains("STATUS=page and API at http://127.0.0.1:") && !told.contains("no connection"), "{told}");
    for _ in 0..3 {
        manager.told("WATCHDOG=1").with_context(|| program.tail())?;
    }
    signal(program.id(), "TERM")?;
    manager.told("STOPPING=1")?;
    ensure!(program.wait()?.success(), "{}", program.tail());
    Ok(())
}

#[test]
fn a_support_bundle_has_no_secrets_and_is_made_of_a_broken_gateway_too() -> Result<()> {
    let folder = TempDir::new()?;
    let at = folder.path();
    let good = config(at, "10s") + "  - { name: ups, profile: ups-mib, snmp: { host: 10.0.0.9, community: S3CRET } }\n";
    for (number, (text, starts)) in
        [(good.clone(), true), (good.replace("gateway: plant7", "gateway: 'S3CRET x'"), false)].into_iter().enumerate()
    {
        std::fs::write(at.join("gateway.yaml"), text)?;
        let file = at.join(format!("bundle{number}.json"));
        let output = gateway(at)?.arg("support-bundle").arg("--output").arg(&file).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = std::fs::read_to_string(&file)?;
        let json: serde_json::Value = serde_json::from_str(&told)?;
        ensure!(json["starts"] == starts && json["config"]["devices"][0]["profile"] == "linux-host", "{json:#}");
        ensure!(json["machine"]["/proc/version"].as_str().is_some_and(|text| text.contains("Linux")), "{json:#}");
        ensure!(!told.replace("S3CRET x", "").contains("S3CRET"), "{told}");
        let again = gateway(at)?.arg("support-bundle").arg("--output").arg(&file).output()?;
        ensure!(!again.status.success() && std::fs::read_to_string(&file)? == told, "a file that is there must stay");
    }
    Ok(())
}

/// As an upgrade asks before it restarts a daemon.
#[test]
fn check_tells_whether_the_daemons_could_start() -> Result<()> {
    let folder = TempDir::new()?;
    let at = folder.path();
    let good = config(at, "10s");
    for (text, starts, expected) in [
        (good.clone(), true, ""),
        // One bad device costs itself only.
        (good.clone() + "  - { name: meter, profile: nothing-like-it }\n", true, "gateway.yaml:7:"),
        (good.replace("gateway: plant7", "gateway: 'plant 7'"), false, "gateway.yaml:1:"),
        (good.replace("127.0.0.1:1'", "ops.example', credentials: /nowhere"), false, "/nowhere"),
    ] {
        std::fs::write(at.join("gateway.yaml"), &text)?;
        let output = gateway(at)?.args(["check", "--can-start"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() == starts && said.contains(expected), "{text}\n{said}");
    }
    for (text, starts, expected) in [("retention: 30d\n", true, ""), ("retention: 30d\nretension: 1d\n", false, "server.yaml:2:")] {
        std::fs::write(at.join("server.yaml"), text)?;
        let output = Command::new(binary("pattoo-server")?).arg("check").arg("--config").arg(at.join("server.yaml")).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() == starts && said.contains(expected), "{text}\n{said}");
    }
    Ok(())
}
