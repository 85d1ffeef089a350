//! The same path over a broker that we did not write: mosquitto between gateway and server; without and with TLS, by password
//! and by certificate, with the ACL file that the README names.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pattoo_tests::authority::{Authority, Files};
use pattoo_tests::mosquitto::{self, Keeps, Mosquitto, free_port};
use pattoo_tests::mqtt::{Connect, Raw, code, kind, packet};
use pattoo_tests::program::{PATIENCE, Program};
use pattoo_tests::site::{Good, client};
use pattoo_tests::stack::{Stack, buffered, wait_stored};
use pattoo_tests::{root, wait_for};
use pattoo_wire::topic;
use rustls::version::{TLS12, TLS13};

#[test]
fn readings_reach_the_store_over_mosquitto_even_when_it_forgets_everything() -> Result<()> {
    let mut stack = Stack::new()?;
    let mut broker = Mosquitto::start(stack.folder(), Keeps::Nothing)?;
    stack.relay.set_target(Some(broker.address))?;
    let server = stack.folder().join("server.yaml");
    let data = stack.folder().join("data");
    // The server goes through the relay as well, so that a restarted broker is found under the same address by both.
    std::fs::write(
        &server,
        format!(
            "data: {}\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {{ url: 'mqtt://{}' }}\n",
            data.display(),
            stack.relay.address()
        ),
    )?;
    stack.start_server_with(&server)?;
    let config = stack.configure_gateway("plant7", "devices: [ { name: this-host, profile: linux-host, every: 500ms } ]\n")?;
    stack.start_gateway(&config)?;
    let api = stack.api()?;
    let arrived = |stack: &Stack| {
        let so_far = buffered(&stack.gateway.as_ref().context("it runs")?.output())?;
        ensure!(!so_far.is_empty(), "nothing is buffered yet");
        wait_stored(api, "plant7", &so_far, PATIENCE).map(|_| ())
    };
    wait_for("a batch to be buffered and stored", PATIENCE, || arrived(&stack).ok())?;

    broker.kill(true)?;
    stack.relay.set_target(Some(broker.address))?;
    arrived(&stack)
}

/// How everybody shows at mosquitto that it is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Password,
    Certificate,
}

const PASSWORD: &str = "correct horse battery";
const NAMES: [&str; 4] = ["pattoo-server", "plant7", "plant8", "scada"];

/// Mosquitto as the examples have it, and what everybody needs to come in.
struct Secured {
    stack: Stack,
    _broker: Program,
    address: SocketAddr,
    means: Means,
    authority: Authority,
}

impl Secured {
    fn start(means: Means) -> Result<Self> {
        let stack = Stack::new()?;
        let folder = stack.folder().to_owned();
        let authority = Authority::new(&folder, "clients")?;
        authority.server(&folder)?;
        for (n, name) in NAMES.iter().enumerate() {
            let passwords = folder.join("pattoo.passwords");
            let mut command = Command::new("mosquitto_passwd");
            command.args(if n == 0 { &["-c", "-b"][..] } else { &["-b"] }).arg(passwords).args([name, PASSWORD]);
            let made = command.output().context("mosquitto_passwd")?;
            ensure!(made.status.success(), "{made:?}");
            std::fs::write(folder.join(format!("{name}.token")), format!("{name}:{PASSWORD}\n"))?;
        }
        let example = |name: &str| std::fs::read_to_string(root().join("tests/examples").join(name));
        std::fs::write(folder.join("pattoo.acl"), example("mosquitto.acl")?)?;
        let (with_password, with_certificate) = (free_port()?, free_port()?);
        // Its files are in this test's folder, which only its owner enters; everything else is as it stands in the example.
        let config = example("mosquitto.conf")?
            .replace("/etc/mosquitto/", &format!("{}/", folder.display()))
            .replace("listener 8883", &format!("listener {} 127.0.0.1", with_password.port()))
            .replace("listener 8884", &format!("listener {} 127.0.0.1", with_certificate.port()));
        let address = if means == Means::Password { with_password } else { with_certificate };
        let broker = mosquitto::start(stack.folder(), &format!("user root\n{config}"), address)?;
        Ok(Self { stack, _broker: broker, address, means, authority })
    }

    /// The block of a configuration, ours or a gateway's, that leads there as `name`.
    fn block(&self, name: &str) -> Result<String> {
        let folder = self.stack.folder();
        let proof = match self.means {
            Means::Password => format!("credentials: {}", folder.join(format!("{name}.token")).display()),
            Means::Certificate => {
                let (certificate, key) = self.certificate(name)?;
                format!("certificate: {}, key: {}", certificate.display(), key.display())
            }
        };
        Ok(format!("url: 'mqtts://localhost:{}', ca: {}, {proof}", self.address.port(), folder.join("clients.pem").display()))
    }

    fn certificate(&self, name: &str) -> Result<Files> {
        self.authority.client(&self.stack.folder().join(name), name, 2100)
    }

    /// A client of our own making, which comes in as `name` and says that its client id is `id`.
    fn raw(&self, name: &str, id: &str) -> Result<Raw> {
        let ca = self.stack.folder().join("clients.pem");
        let own = self.certificate(name)?;
        let own = (self.means == Means::Certificate).then_some((own.0.as_path(), own.1.as_path()));
        let connect = Connect::as_id(id);
        let connect = if own.is_none() { connect.login(name, PASSWORD) } else { connect };
        Raw::tls(self.address, &client(&ca, own, &[&TLS13])?)?.connected(connect)
    }

    /// Another gateway reaches nothing of `plant7`.
    fn refuses_another(&self) -> Result<()> {
        // Mosquitto names each session after its account, so that this one does not end plant7's.
        let mut other = self.raw("plant8", "pattoo-plant7")?;
        let own = [topic::ack("plant8"), topic::ask("plant8"), topic::command("plant8")];
        let others = [topic::data, topic::status, topic::ack, topic::command, topic::command_result].map(|of| of("plant7"));
        for topic in own.into_iter().chain(others) {
            ensure!(other.publish(&topic, true, b"forged")? == code::NOT_AUTHORIZED, "plant8 wrote {topic}");
        }
        for filter in ["pattoo/#", "pattoo/v1/plant7/ack", "$share/g/pattoo/v1/plant7/ack"] {
            other.subscribe(filter)?;
        }
        let own = other.publish(&topic::hello("plant8"), false, b"x")?;
        ensure!(matches!(own, code::SUCCESS | code::NO_SUBSCRIBERS), "plant8 does not write its own: {own:02x}");
        for _ in 0..3 {
            other.send(&packet(kind::PINGREQ << 4, &[]))?;
            other.wait(kind::PINGRESP)?;
        }
        ensure!(other.messages.is_empty(), "plant8 got {:?}", other.messages.first());
        Ok(())
    }

    /// The account that may command plant7 does, and no other gateway.
    fn carries_commands(&self) -> Result<()> {
        let mut gateway = self.raw("plant7", "pattoo-plant7")?;
        gateway.subscribe(&topic::command("plant7"))?;
        let mut scada = self.raw("scada", "scada")?;
        scada.subscribe(&topic::command_result("plant7"))?;
        ensure!(scada.publish(&topic::command("plant7"), false, b"do")? == code::SUCCESS, "no command reached plant7");
        ensure!(gateway.message()? == (topic::command("plant7"), b"do".to_vec()));
        ensure!(gateway.publish(&topic::command_result("plant7"), false, b"done")? == code::SUCCESS);
        ensure!(scada.message()? == (topic::command_result("plant7"), b"done".to_vec()));
        for topic in [topic::command("plant8"), topic::command_result("plant7"), topic::ack("plant7"), topic::data("plant7")] {
            ensure!(scada.publish(&topic, false, b"x")? == code::NOT_AUTHORIZED, "scada wrote {topic}");
        }
        Ok(())
    }
}

/// Who can be the real gateway here.
const REAL_GATEWAY: &[Means] = &[Means::Password, Means::Certificate];

fn over_tls(means: Means) -> Result<()> {
    let mut secured = Secured::start(means)?;
    let server = secured.stack.folder().join("server.yaml");
    let block = secured.block("pattoo-server")?;
    std::fs::write(&server, format!("data: data\nhttp: {{ listen: 127.0.0.1:0, anonymous: viewer }}\nbroker: {{ {block} }}\n"))?;
    secured.stack.start_server_with(&server)?;
    let good = Good::start(secured.raw("plant7", "pattoo-plant7")?, "plant7")?;
    secured.refuses_another()?;
    ensure!(good.undisturbed(Duration::from_secs(5))?.batches > 1, "batches went on");
    secured.carries_commands()?;

    // Nothing older than TLS 1.3, no stranger, nobody without an account.
    let ca = secured.stack.folder().join("clients.pem");
    let own = secured.certificate("plant8")?;
    let own = Some((own.0.as_path(), own.1.as_path()));
    ensure!(Raw::tls(secured.address, &client(&ca, own, &[&TLS12])?).is_err(), "TLS 1.2 was spoken");
    let nobody = Raw::tls(secured.address, &client(&ca, None, &[&TLS13])?).and_then(|raw| raw.connected(Connect::as_id("x")));
    ensure!(nobody.is_err(), "somebody without an account was let in");

    if REAL_GATEWAY.contains(&means) {
        let uplink = secured.block("plant8")?;
        let config = secured.stack.folder().join("gateway.yaml");
        let devices = "devices: [ { name: this-host, profile: linux-host, every: 500ms } ]\n";
        let rest = format!("batch: {{ every: 1s }}\nclock: {}\n{devices}", secured.stack.clock);
        let buffer = secured.stack.folder().join("buffer");
        std::fs::write(&config, format!("gateway: plant8\nuplink: {{ {uplink} }}\nbuffer: {{ path: {} }}\n{rest}", buffer.display()))?;
        secured.stack.start_gateway(&config)?;
        let api = secured.stack.api()?;
        wait_for("its readings in the store", PATIENCE, || {
            let output = secured.stack.gateway.as_ref()?.output();
            let so_far = buffered(&output).ok().filter(|so_far| !so_far.is_empty())?;
            wait_stored(api, "plant8", &so_far, Duration::from_secs(2)).ok()
        })?;
    }
    Ok(())
}

#[test]
fn over_mosquitto_with_tls_and_passwords_nobody_reaches_anothers_topics() -> Result<()> {
    over_tls(Means::Password)
}

#[test]
fn over_mosquitto_with_certificates_nobody_reaches_anothers_topics() -> Result<()> {
    over_tls(Means::Certificate)
}
