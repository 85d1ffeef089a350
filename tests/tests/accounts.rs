//! Accounts of gateways from the command line to the running server: made, used by the real gateway, replaced, revoked; and
//! certificates that are somebody else's, too old, or of another authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_tests::authority::{Authority, Files};
use pattoo_tests::mqtt::{Connect, Raw, code};
use pattoo_tests::program::PATIENCE;
use pattoo_tests::site::{Good, Site, client, id, token_of};
use pattoo_tests::stack::{buffered, wait_stored};
use pattoo_tests::wait_for;
use pattoo_wire::topic;

/// "At once": the server looks four times a second.
const AT_ONCE: Duration = Duration::from_secs(2);
/// An acknowledgement that takes longer was disturbed.
const UNDISTURBED: Duration = Duration::from_secs(2);

fn with(own: &Files) -> Option<(&Path, &Path)> {
    Some((&own.0, &own.1))
}

/// What becomes of a connection with this certificate that says it is `name`; none where TLS refuses it.
fn shown(site: &Site, own: &Files, name: &str) -> Result<Option<u8>> {
    let Ok(mut raw) = Raw::tls(site.secure, &site.client(with(own))?) else { return Ok(None) };
    raw.connect(Connect::as_id(&id(name)))
}

#[test]
fn the_real_gateway_works_with_the_token_that_gateway_add_gave_until_it_is_revoked() -> Result<()> {
    works_until_revoked(&[], &[("credentials", "gateway.token")])
}

#[test]
fn the_real_gateway_works_with_the_certificate_that_gateway_add_gave_until_it_is_revoked() -> Result<()> {
    works_until_revoked(&["--certificate"], &[("certificate", "gateway.pem"), ("key", "gateway.key")])
}

/// `keys` are those of the gateway's configuration and the files that they name.
fn works_until_revoked(means: &[&str], keys: &[(&str, &str)]) -> Result<()> {
    let mut site = Site::start("{ names: [localhost] }", "127.0.0.1")?;
    let good = Good::at(&site)?;
    let folder = site.stack.folder().join("given");
    std::fs::create_dir(&folder)?;
    let out = folder.display().to_string();
    let add = |site: &Site, more: &[&str]| {
        let args = [&["add", "plant7", "--out", &out, "--host", "localhost"], means, more].concat();
        site.change(&args, "")
    };
    let given = add(&site, &[])?;
    ensure!(given.contains("url: mqtts://localhost:"), "{given}");
    let mut uplink = format!("url: 'mqtts://localhost:{}', ack_timeout: 2s", site.secure.port());
    for (key, name) in keys.iter().chain(&[("ca", "ca.pem")]) {
        use std::os::unix::fs::PermissionsExt;
        ensure!(given.contains(&format!("{key}: /etc/pattoo/{name}\n")), "{given}");
        let mode = folder.join(name).metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{name} has mode {mode:o}");
        uplink += &format!(", {key}: {}", folder.join(name).display());
    }
    let config = site.stack.folder().join("gateway.yaml");
    let devices = "devices: [ { name: this-host, profile: linux-host, every: 500ms } ]\n";
    let rest = format!("batch: {{ every: 1s }}\nclock: {}\n{devices}", site.stack.clock);
    let buffer = site.stack.folder().join("buffer");
    std::fs::write(&config, format!("gateway: plant7\nuplink: {{ {uplink} }}\nbuffer: {{ path: {} }}\n{rest}", buffer.display()))?;
    site.stack.start_gateway(&config)?;
    let api = site.stack.api()?;
    let output = |site: &Site| Ok::<_, anyhow::Error>(site.stack.gateway.as_ref().context("it runs")?.output());
    wait_for("readings in the store", PATIENCE, || {
        let so_far = buffered(&output(&site).ok()?).ok().filter(|so_far| !so_far.is_empty())?;
        wait_stored(api, "plant7", &so_far, Duration::from_secs(2)).ok()
    })?;
    ensure!(site.metric("pattoo_broker_clients", "{kind=\"gateway\"}")? == 2.0, "two gateways with accounts");

    site.change(&["revoke", "plant7"], "")?;
    let gone = || (site.metric("pattoo_broker_clients", "{kind=\"gateway\"}").ok()? == 1.0).then_some(());
    wait_for("the revoked gateway to be gone", AT_ONCE, gone)?;
    site.told("revoked", "plant7", "ended: its account is not what it was")?;
    let again = || (site.refusals("revoked", "plant7").ok()? >= 2).then_some(());
    wait_for("the revoked gateway to come back in vain", PATIENCE, again)?;
    let told = output(&site)?.iter().any(|line| line.contains("pattoo-server gateway add"));
    ensure!(told, "the gateway does not say what to do");

    // A new secret for the same gateway: it goes on where it was, and nothing is lost.
    for (_, name) in keys.iter().chain(&[("ca", "ca.pem")]) {
        std::fs::remove_file(folder.join(name))?;
    }
    add(&site, &["--replace"])?;
    let mut gateway = site.stack.gateway.take().context("it runs")?;
    gateway.stop()?;
    let before = buffered(&gateway.output())?;
    site.stack.start_gateway(&config)?;
    wait_stored(api, "plant7", &before, PATIENCE)?;
    good.undisturbed(UNDISTURBED)?;
    Ok(())
}

#[test]
fn a_revoked_session_ends_at_once_and_does_not_come_back() -> Result<()> {
    let site = Site::start("auto", "127.0.0.1")?;
    let good = Good::at(&site)?;
    let tls = site.client(None)?;
    let admitted = |name: &str, token: &str| Raw::tls(site.secure, &tls)?.connect(Connect::as_id(&id(name)).login(name, token));
    let open = |name: &str, token: &str| Raw::tls(site.secure, &tls)?.connected(Connect::as_id(&id(name)).login(name, token));
    let token = site.token("g1")?;
    let mut session = open("g1", &token)?;
    ensure!(session.subscribe(&topic::ack("g1"))? == code::GRANTED_1, "it reads its own");
    let start = Instant::now();
    let output = site.run(&["revoke", "g1"], "")?;
    ensure!(output.status.success(), "{output:?}");
    session.closed_after(AT_ONCE)?;
    eprintln!("a revoked session was closed {:?} after the command was given", start.elapsed());
    ensure!(admitted("g1", &token)? == Some(code::NOT_AUTHORIZED), "a revoked account was let in");
    site.told("revoked", "g1", "ended: its account is not what it was")?;
    site.told("revoked", "g1", "reason=\"revoked\"")?;
    // Its name stays its own.
    let mut local = Raw::plain(site.plain)?.connected(Connect::as_id("x"))?;
    ensure!(local.publish(&topic::data("g1"), false, b"x")? == code::NOT_AUTHORIZED, "a revoked gateway's name is anybody's");

    // A new secret ends the sessions of the old one.
    let replace = |name: &str| token_of(name, &site.change(&["add", name, "--replace", "--json"], "")?);
    let second = replace("g1")?;
    let mut session = open("g1", &second)?;
    ensure!(admitted("g1", &token)? == Some(code::BAD_LOGIN), "the old token was let in");
    let third = replace("g1")?;
    session.closed_after(AT_ONCE)?;
    ensure!(admitted("g1", &third)? == Some(code::SUCCESS), "the new token was not let in");

    // So does an account for a name that somebody without one used.
    let mut local = Raw::plain(site.plain)?.connected(Connect::as_id(&id("g2")))?;
    site.token("g2")?;
    local.closed_after(AT_ONCE)?;
    good.undisturbed(UNDISTURBED)?;
    Ok(())
}

#[test]
fn a_certificate_admits_its_own_gateway_and_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let theirs = Authority::new(folder.path(), "theirs")?;
    let stranger = Authority::new(folder.path(), "stranger")?;
    let client_ca = folder.path().join("theirs.pem");
    let site = Site::start(&format!("{{ client_ca: {} }}", client_ca.display()), "127.0.0.1")?;
    let good = Good::at(&site)?;
    let made = |authority: &Authority, case: &str, name, until| authority.client(&folder.path().join(case), name, until);
    let own = site.certificate("g1")?;
    let token = site.token("tok")?;
    site.change(&["add", "any", "--client-ca"], "")?;
    ensure!(shown(&site, &own, "g1")? == Some(code::SUCCESS), "its own certificate");
    ensure!(shown(&site, &made(&theirs, "any", "any", 2100)?, "any")? == Some(code::SUCCESS), "one of the configured authority");
    for (what, certificate, name, expected) in [
        ("another's client id", own.clone(), "good", Some(code::CLIENT_ID)),
        ("the same name of the configured authority", made(&theirs, "g1", "g1", 2100)?, "g1", Some(code::BAD_LOGIN)),
        ("the name of a gateway with a token", made(&theirs, "tok", "tok", 2100)?, "tok", Some(code::BAD_LOGIN)),
        ("a name without an account", made(&theirs, "who", "who", 2100)?, "who", Some(code::BAD_LOGIN)),
        ("one of a stranger", made(&stranger, "s", "g1", 2100)?, "g1", None),
        ("one that has expired", made(&theirs, "old", "any", 2020)?, "any", None),
    ] {
        let answer = shown(&site, &certificate, name)?;
        ensure!(answer == expected, "{what} was answered by {answer:02x?}");
    }
    let mut other = Raw::tls(site.secure, &site.client(with(&own))?)?;
    ensure!(other.connect(Connect::as_id(&id("any")).login("any", "x"))? == Some(code::BAD_LOGIN), "another's user name");
    // The account counts, and a certificate in addition does no harm.
    let mut both = Raw::tls(site.secure, &site.client(with(&own))?)?;
    ensure!(both.connect(Connect::as_id(&id("tok")).login("tok", &token))? == Some(code::SUCCESS), "a token beside a certificate");

    let old = client(&site.ca(), with(&own), &[&rustls::version::TLS12])?;
    ensure!(Raw::tls(site.secure, &old).is_err(), "TLS 1.2 was spoken");
    let mut plain = Raw::plain(site.secure)?;
    // What comes back is an alert of TLS, and no packet.
    ensure!(!matches!(plain.connect(Connect::as_id("x")), Ok(Some(_))), "no TLS at all");
    plain.closed_after(AT_ONCE)?;

    let mut session = Raw::tls(site.secure, &site.client(with(&own))?)?.connected(Connect::as_id(&id("g1")))?;
    site.change(&["revoke", "g1"], "")?;
    session.closed_after(AT_ONCE)?;
    ensure!(shown(&site, &own, "g1")? == Some(code::NOT_AUTHORIZED), "a revoked certificate");
    // The name is given out again: the certificate that was revoked stays so.
    site.change(&["add", "g1", "--replace", "--client-ca"], "")?;
    ensure!(shown(&site, &own, "g1")? == Some(code::BAD_LOGIN), "a revoked certificate of an account that was made again");
    site.told("certificate", "", "invalid peer certificate")?;
    site.told("tls", "", "refused")?;
    site.told("revoked", "g1", "ended")?;
    let listed = site.change(&["revoke", "any"], "").and_then(|_| Ok(site.run(&["list"], "")?.stdout))?;
    let listed = String::from_utf8(listed)?;
    ensure!(listed.lines().any(|line| line.starts_with("any ") && line.contains("certificate  revoked")), "{listed}");
    good.undisturbed(UNDISTURBED)?;
    Ok(())
}

#[test]
fn the_commands_say_what_they_did_and_end_with_the_right_status() -> Result<()> {
    let site = Site::start("{ names: [ops.example] }", "127.0.0.1")?;
    let status = |args: &[&str], input: &str| {
        let output = site.run(args, input)?;
        let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        Ok::<_, anyhow::Error>((output.status.code().context("a signal")?, text))
    };
    for (args, input, expected, words) in [
        (&["list"][..], "", 0, "NAME"),
        (&["add", "g1"], "", 0, "url: mqtts://ops.example:PORT"),
        (&["add", "g1"], "", 1, "--replace"),
        (&["add", "g1", "--replace", "--password-stdin"], "short\n", 1, "found a password of 5 bytes, expected 12 to 256"),
        (&["add", "g2", "--password-stdin"], "a password that is long\n", 0, "g2:a password that is long\n"),
        (&["add", "g3", "--certificate", "--days", "10"], "", 0, "-----BEGIN PRIVATE KEY-----"),
        (&["add", "g4", "--client-ca"], "", 1, "client_ca"),
        (&["add", "a/b"], "", 2, "a name is made of letters"),
        (&["add", "g5", "--certificate", "--days", "0"], "", 2, "0 is not in 1..=36500"),
        (&["add", "g5", "--certificate", "--password-stdin"], "", 2, "cannot be used with"),
        (&["add", "g5", "--out", "/nowhere/at/all"], "", 1, "/nowhere/at/all"),
        (&["revoke", "g5"], "", 1, "no gateway g5 has an account"),
        (&["revoke", "g2"], "", 0, "a running server ends its session"),
        (&["revoke", "g2"], "", 0, "was revoked before"),
        (&["revok", "g2"], "", 2, "revoke"),
        (&["list", "--json"], "", 0, "\"state\": \"expires soon\""),
    ] {
        let (code, text) = status(args, input)?;
        ensure!(code == expected && text.contains(words), "{args:?} ended with {code}:\n{text}");
    }
    let (_, listed) = status(&["list"], "")?;
    for line in ["g1    token        good", "g2    password     revoked", "g3    certificate  expires soon"] {
        ensure!(listed.contains(line), "{listed}");
    }
    let file = std::fs::read_to_string(site.stack.folder().join("data/accounts.json"))?;
    ensure!(!file.contains("password that is long"), "the file holds a password");

    // Nothing is guessed from a file that is not in order.
    std::fs::write(site.stack.folder().join("data/accounts.json"), "{ \"format\": ")?;
    let (code, text) = status(&["list"], "")?;
    ensure!(code == 1 && text.contains("accounts.json: line 1, column"), "{text}");
    let server = site.stack.server.as_ref().context("it runs")?;
    server
        .wait_line("the server to say that it goes on with what it has", |line| line.contains("going on with the accounts as they were"))?;
    Ok(())
}

/// Another machine, as far as this one can have it: a network namespace with a link to it. Ends with the test.
struct Elsewhere {
    name: String,
    here: Ipv4Addr,
}

impl Elsewhere {
    fn new() -> Result<Self> {
        // Names and addresses that no other run has: both come from the process.
        let pid = std::process::id();
        let net = |last| Ipv4Addr::new(10, 203, (pid >> 6) as u8, ((pid & 0x3f) << 2) as u8 | last);
        let elsewhere = Self { name: format!("pattoo-{pid}"), here: net(1) };
        let (name, near, far) = (&elsewhere.name, format!("pt{pid}a"), format!("pt{pid}b"));
        for args in [
            format!("netns add {name}"),
            format!("link add {near} type veth peer name {far} netns {name}"),
            format!("addr add {}/30 dev {near}", net(1)),
            format!("link set {near} up"),
            format!("-n {name} addr add {}/30 dev {far}", net(2)),
            format!("-n {name} link set {far} up"),
        ] {
            let output = Command::new("ip").args(args.split(' ')).output().context("ip")?;
            ensure!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(elsewhere)
    }

    /// Does something there.
    fn do_there<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name))?;
        let thread = std::thread::spawn(move || {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            // Of this thread only, which ends with the work.
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
            work()
        });
        thread.join().map_err(|_| anyhow!("panicked"))?
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The link goes with its other end.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

#[test]
fn from_another_machine_nobody_comes_in_without_an_account() -> Result<()> {
    let elsewhere = Elsewhere::new()?;
    let site = Site::start("auto", "0.0.0.0")?;
    let good = Good::at(&site)?;
    let token = site.token("g1")?;
    let tls = site.client(None)?;
    let (secure, plain) =
        (SocketAddr::new(elsewhere.here.into(), site.secure.port()), SocketAddr::new(elsewhere.here.into(), site.plain.port()));
    let (anonymous, admitted, unreachable) = elsewhere.do_there(move || {
        let anonymous = Raw::tls(secure, &tls)?.connect(Connect::as_id("x"))?;
        let admitted = Raw::tls(secure, &tls)?.connect(Connect::as_id(&id("g1")).login("g1", &token))?;
        Ok((anonymous, admitted, Raw::plain(plain).is_err()))
    })?;
    ensure!(anonymous == Some(code::NOT_AUTHORIZED), "without an account: {anonymous:02x?}");
    ensure!(admitted == Some(code::SUCCESS), "with an account: {admitted:02x?}");
    ensure!(unreachable, "the listener without TLS can be reached from elsewhere");
    site.told("no_account", "", "address=10.203.")?;
    good.undisturbed(UNDISTURBED)?;
    Ok(())
}
