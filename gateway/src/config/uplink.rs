//! The block `uplink`: where readings go, and how.

use super::read::{MAX_PATH_BYTES, Text, is_loopback, path, seconds, split_endpoint, variable};
use super::{Broker, Environment, Identity, Order, Uplink};
use crate::yaml::{Field, Fields, Problems, did_you_mean, quoted};

/// What leads to one broker.
const BROKER_KEYS: &[&str] = &["url", "credentials", "ca", "certificate", "key"];
const KEYS: &[&str] = &[
    "url",
    "credentials",
    "ca",
    "certificate",
    "key",
    "brokers",
    "prefer_after",
    "acknowledge",
    "max_unacknowledged",
    "ack_timeout",
    "order",
    "backfill_share",
    "rate_limit",
    "compress",
];

/// Most brokers.
const MAX_BROKERS: usize = 8;
const EXPECTED_URL: &str = "a URL such as mqtts://ops.example:8883";

/// Least rate, in bytes per second: below it a batch would be on its way for minutes.
const MIN_RATE: u64 = 100;
/// Most: 1 GB/s is no limit any more.
const MAX_RATE: u64 = 1_000_000_000;

pub(super) fn read(top: &Fields<'_>, env: Environment<'_>, problems: &mut Problems<'_>) -> Option<Uplink> {
    let before = problems.count();
    let from_env = variable(env, "PATTOO_UPLINK_URL");
    let fields = match top.optional("uplink") {
        Some(field) => Some(Fields::read(field.node, "uplink", KEYS, problems)?),
        None if from_env.is_some() => None,
        None => {
            top.required("uplink", &format!("a mapping with `url`, {EXPECTED_URL}"), problems);
            return None;
        }
    };
    let brokers = brokers(fields.as_ref(), from_env, problems)?;
    let mut uplink = Uplink { brokers, ..Uplink::to(String::new()) };
    if let Some(fields) = &fields {
        pace(fields, &mut uplink, problems);
    }
    (problems.count() == before).then_some(uplink)
}

/// The only broker, or a list; a URL of the environment takes the place of all of them.
fn brokers(fields: Option<&Fields<'_>>, from_env: Option<Text<'_>>, problems: &mut Problems<'_>) -> Option<Vec<Broker>> {
    let Some(list) = fields.and_then(|fields| fields.optional("brokers")) else {
        return broker(fields, from_env, problems).map(|broker| vec![broker]);
    };
    if let Some(field) = BROKER_KEYS.iter().find_map(|key| fields?.optional(key)) {
        field.problem("found beside `brokers`, expected in the entries of that list", problems);
        return None;
    }
    let expected = format!("a list of 1 to {MAX_BROKERS} brokers, the preferred one first, each with a `url`");
    let nodes = list.list(&expected, problems)?;
    if nodes.is_empty() || nodes.len() > MAX_BROKERS {
        list.problem(&format!("found {} brokers, expected {expected}", nodes.len()), problems);
        return None;
    }
    let (mut from_env, mut brokers) = (from_env, Vec::new());
    let count = if from_env.is_some() { 1 } else { nodes.len() };
    for node in nodes.iter().take(count) {
        // Each is looked at, so that all problems are told at once.
        let fields = Fields::read(node, "uplink, brokers", BROKER_KEYS, problems);
        brokers.push(fields.and_then(|fields| broker(Some(&fields), from_env.take(), problems)));
    }
    brokers.into_iter().collect()
}

fn broker(fields: Option<&Fields<'_>>, from_env: Option<Text<'_>>, problems: &mut Problems<'_>) -> Option<Broker> {
    let mut file = |key| fields.and_then(|fields| fields.optional(key)).and_then(|field| path(&field, problems));
    let (credentials, ca, certificate, key) = (file("credentials"), file("ca"), file("certificate"), file("key"));
    let identity = match (certificate, key, fields) {
        (Some(certificate), Some(key), _) => Some(Identity { certificate, key }),
        (Some(_), None, Some(fields)) => {
            fields.required("key", "the file of the certificate's key", problems)?;
            None
        }
        (None, Some(_), Some(fields)) => {
            fields.required("certificate", "the file of the certificate to this key", problems)?;
            None
        }
        _ => None,
    };
    let text = match (from_env, fields) {
        (Some(text), _) => text,
        (None, Some(fields)) => {
            let field = fields.required("url", EXPECTED_URL, problems)?;
            let url = field.text(EXPECTED_URL, problems)?;
            Text::File(field, url)
        }
        (None, None) => return None,
    };
    let url = url(&text, credentials.is_some() || identity.is_some(), problems)?;
    if identity.is_some() && !url.starts_with("mqtts://") {
        text.problem(&format!("found {}, expected mqtts://host:port: a certificate is shown over TLS only", quoted(&url)), problems);
    }
    Some(Broker { url, credentials, ca, identity })
}

/// What goes when; the defaults are in it already.
fn pace(fields: &Fields<'_>, uplink: &mut Uplink, problems: &mut Problems<'_>) -> Option<()> {
    if let Some(field) = fields.optional("acknowledge") {
        field.choice(&[("server", ())], problems);
    }
    if let Some(field) = fields.optional("max_unacknowledged") {
        uplink.max_unacknowledged = field.integer(1, 1_000, "a number of batches", problems).and_then(|n| usize::try_from(n).ok())?;
    }
    if let Some(field) = fields.optional("ack_timeout") {
        uplink.ack_timeout = field.duration(seconds(1), seconds(3_600), problems)?;
    }
    if let Some(field) = fields.optional("order") {
        let names = [("live-first", Order::LiveFirst), ("oldest-first", Order::OldestFirst), ("newest-first", Order::NewestFirst)];
        uplink.order = field.choice(&names, problems)?;
    }
    if let Some(field) = fields.optional("backfill_share") {
        uplink.backfill_percent = percent(&field, problems)?;
    }
    if let Some(field) = fields.optional("prefer_after") {
        uplink.prefer_after = field.duration(seconds(10), seconds(24 * 3_600), problems)?;
    }
    if let Some(field) = fields.optional("compress") {
        uplink.compress = field.choice(&[("auto", true), ("never", false)], problems)?;
    }
    uplink.rate_limit = fields.optional("rate_limit").and_then(|field| rate(&field, problems));
    Some(())
}

/// `mqtt://host:port` or `mqtts://host:port`; the port may be left out. Without credentials only to this machine itself.
pub(super) fn url(text: &Text<'_>, has_credentials: bool, problems: &mut Problems<'_>) -> Option<String> {
    let url = text.as_str();
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let Some(endpoint) = url.strip_prefix("mqtt://").or_else(|| url.strip_prefix("mqtts://")) else {
        let hint = did_you_mean(scheme.unwrap_or(url), ["mqtt", "mqtts"].into_iter());
        text.problem(&format!("found {}, expected mqtt://host:port or mqtts://host:port{hint}", quoted(url)), problems);
        return None;
    };
    if endpoint.contains('@') {
        // The password must not be repeated in a log.
        text.problem("found a user or password in the URL, expected them in the file that `credentials` names", problems);
        return None;
    }
    let Some((host, _)) = split_endpoint(endpoint, false).filter(|_| url.len() <= MAX_PATH_BYTES) else {
        text.problem(&format!("found {}, expected mqtt://host:port or mqtts://host:port", quoted(url)), problems);
        return None;
    };
    if !has_credentials && !is_loopback(host) {
        let message = format!(
            "{} is another machine: expected `credentials`, a file with one line user:password, or `certificate` and `key`; \
             only a broker on this machine itself may be anonymous",
            quoted(host)
        );
        text.problem(&message, problems);
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// `30%` or `30 %`.
fn percent(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let expected = "a share from 1% to 90%";
    let text = field.text(expected, problems)?;
    let share = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok()).filter(|share| (1..=90).contains(share));
    if share.is_none() {
        field.wrong(expected, problems);
    }
    share
}

/// `20kB` or `20kB/s`; in a second.
fn rate(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<u64> {
    let expected = "bytes in a second from 100B to 1GB, such as 20kB";
    let text = field.text(expected, problems)?;
    let size = text.strip_suffix("/s").unwrap_or(text).parse::<bytesize::ByteSize>().ok().map(|size| size.0);
    let rate = size.filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate));
    if rate.is_none() {
        field.wrong(expected, problems);
    }
    rate
}
