//! What makes a datapoint of an old agent the same series as before: its names here, from names and metadata there. Pure.
//!
//! Whether a pair of metadata belongs to the identity is not on the wire, but the agent's checksum tells: it is a chain of SHA-256
//! over key and type, then over each pair that belongs, in the order of the datapoint's list. So pairs are left out until the
//! chain ends in that checksum. Where none does (an agent that is not built on Pattoo's library), the well-known pairs that change
//! with an upgrade are left out.

use std::fmt::Write;

use pattoo_wire::check_name;
use sha2::{Digest, Sha256};

/// Longest name of a device or point, in bytes, as for gateways.
pub(super) const MAX_NAME_BYTES: usize = 255;
/// Longest label, in bytes.
const MAX_LABEL_BYTES: usize = 255;
/// Pairs that agents leave out of a checksum, at most.
const MAX_LEFT_OUT: usize = 4;
/// Most metadata pairs of a datapoint for which it is tried: 16 give 2517 chains.
const MAX_TRIED: usize = 16;
/// Hashes for one body at most: some tens of milliseconds.
const MAX_HASHES: usize = 60_000;
/// Descriptions of the host in Pattoo's own agents for it: an upgrade or another processor must not begin new series.
const HOST_KEYS: [&str; 2] = ["operating_system_", "processor"];
const HOST_PROGRAMS: [&str; 2] = ["pattoo_agent_os_", "pattoo_agent_linux_"];
/// Metadata of other shipped agents that is no part of their checksums.
const VOLATILE: [&str; 3] = ["ifalias", "operating_system_release", "operating_system_version"];

/// A pair of metadata, as the agent wrote it.
pub(super) type Pair<'a> = (&'a str, &'a str);

/// A datapoint as far as its checksum goes.
pub(super) struct Sum<'a> {
    /// Key and type as the agent hashes them.
    pub(super) start: String,
    /// All pairs that may belong, in order; true for those that always do.
    pub(super) pairs: Vec<(Pair<'a>, bool)>,
    /// What the chain ends in.
    pub(super) checksum: &'a str,
}

/// Finds out which pairs belong, over one body: its datapoints are mostly alike.
#[derive(Debug, Default)]
pub(super) struct Chains {
    hashes: usize,
    /// What was left out of those that went before, the latest first.
    known: Vec<Vec<String>>,
}

impl Chains {
    /// The pairs that the checksum does not cover; none where that cannot be told.
    pub(super) fn left_out(&mut self, sum: &Sum<'_>) -> Option<Vec<String>> {
        let free: Vec<&str> = sum.pairs.iter().filter(|(_, fixed)| !fixed).map(|((key, _), _)| *key).collect();
        let known = self.known.clone();
        if let Some(at) = known.iter().position(|left_out| self.ends(sum, &|key| left_out.iter().any(|k| k == key))) {
            return known.into_iter().nth(at);
        }
        if free.len() > MAX_TRIED {
            return None;
        }
        // The fewest first.
        for count in 0..=MAX_LEFT_OUT.min(free.len()) {
            for mask in (0u32..1 << free.len()).filter(|mask| mask.count_ones() as usize == count) {
                let out = |key: &str| free.iter().position(|k| *k == key).is_some_and(|at| mask & (1 << at) != 0);
                if self.hashes > MAX_HASHES {
                    return None;
                }
                if self.ends(sum, &out) {
                    let left_out: Vec<String> = free.iter().filter(|key| out(key)).map(|key| (*key).to_owned()).collect();
                    self.known.insert(0, left_out.clone());
                    self.known.truncate(4);
                    return Some(left_out);
                }
            }
        }
        None
    }

    fn ends(&mut self, sum: &Sum<'_>, out: &dyn Fn(&str) -> bool) -> bool {
        let mut chain = hex(&Sha256::digest(&sum.start));
        self.hashes += 1;
        for ((key, value), _) in sum.pairs.iter().filter(|((key, _), fixed)| *fixed || !out(key)) {
            chain = hex(&Sha256::digest(format!("{chain}{key}{value}")));
            self.hashes += 1;
        }
        chain == sum.checksum
    }
}

/// Whether a pair belongs to the identity where the checksum does not tell.
pub(super) fn belongs_by_name(key: &str) -> bool {
    !VOLATILE.contains(&key)
}

/// Whether a pair only describes the host, so that another value must not begin a new series.
pub(super) fn describes_host(program: &str, key: &str) -> bool {
    HOST_PROGRAMS.iter().any(|start| program.starts_with(start)) && HOST_KEYS.iter().any(|start| key.starts_with(start))
}

/// The gateway that an agent is: its program and the beginning of its id. The colon keeps it apart from real gateways, whose names
/// cannot have one.
pub(super) fn gateway(program: &str, id: &str) -> String {
    let program = program.strip_prefix("pattoo_agent_").unwrap_or(program);
    let program = if program.len() <= 40 && check_name(program).is_ok() { program.to_owned() } else { digest(program) };
    let random = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let id = match id.get(..16) {
        Some(start) if random => start.to_ascii_lowercase(),
        _ if id.len() <= 20 && check_name(id).is_ok() => id.to_owned(),
        _ => digest(id),
    };
    format!("{program}:{id}")
}

/// Whether a gateway is an old agent.
pub(crate) fn is_agent(gateway: &str) -> bool {
    gateway.contains(':')
}

/// The point: the key, and in brackets the pairs of its identity, ascending, so that their order means nothing.
pub(super) fn point(key: &str, identity: &mut [(String, &str)]) -> String {
    identity.sort();
    let mut inner = String::new();
    for (n, (key, value)) in identity.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(inner, "{comma}{}={}", escaped(key), escaped(value));
    }
    let whole = if inner.is_empty() { key.to_owned() } else { format!("{key}[{inner}]") };
    if whole.len() <= MAX_NAME_BYTES {
        return whole;
    }
    let mark = format!("…#{}", digest(&whole));
    format!("{}{mark}", shortened(&whole, MAX_NAME_BYTES - mark.len()))
}

/// A metadata key as a label: words of letters, digits and `_`, joined by `_`, in small letters.
pub(super) fn label_key(key: &str) -> String {
    let words = key.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    shortened(&words.collect::<Vec<_>>().join("_").to_lowercase(), MAX_LABEL_BYTES).to_owned()
}

/// A metadata value as a label.
pub(super) fn label(value: &str) -> String {
    let plain: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match plain.len() <= MAX_LABEL_BYTES {
        true => plain,
        false => format!("{}…", shortened(&plain, MAX_LABEL_BYTES - '…'.len_utf8())),
    }
}

/// Makes what separates pairs tell apart from what is in them.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | ',' | '=' | '[' | ']' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text)).chars().take(16).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain as Pattoo's library makes it.
    fn chain(start: &str, pairs: &[Pair<'_>]) -> String {
        pairs.iter().fold(hex(&Sha256::digest(start)), |chain, (key, value)| hex(&Sha256::digest(format!("{chain}{key}{value}"))))
    }

    fn sum<'a>(pairs: &[(&'a str, &'a str)], checksum: &'a str) -> Sum<'a> {
        let pairs = pairs.iter().map(|pair| (*pair, pair.0.starts_with("pattoo_"))).collect();
        Sum { start: "cpu99".into(), pairs, checksum }
    }

    #[test]
    fn the_checksum_tells_which_pairs_belong() {
        let all = [("oid", "1.2"), ("ifalias", "to ber"), ("ifname", "eth0"), ("pattoo_agent_id", "x"), ("release", "6.1")];
        let checksum = chain("cpu99", &[all[0], all[2], all[3]]);
        let mut chains = Chains::default();
        assert_eq!(chains.left_out(&sum(&all, &checksum)).unwrap(), ["ifalias", "release"]);
        let first = chains.hashes;
        // The next one is tried as that first.
        let next = [("oid", "1.3"), ("ifalias", "to ham"), ("ifname", "eth1"), all[3], all[4]];
        let checksum = chain("cpu99", &[next[0], next[2], next[3]]);
        assert_eq!(chains.left_out(&sum(&next, &checksum)).unwrap(), ["ifalias", "release"]);
        assert_eq!(chains.hashes - first, 4);
        let whole = chain("cpu99", &all);
        assert_eq!(chains.left_out(&sum(&all, &whole)).unwrap(), [""; 0]);
        assert_eq!(chains.left_out(&sum(&all, "something else")), None);
    }

    #[test]
    fn checksums_that_mean_nothing_cost_a_bounded_time() {
        let keys: Vec<String> = (0..16).map(|n| format!("k{n}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        let mut chains = Chains::default();
        for n in 0..1000 {
            assert_eq!(chains.left_out(&sum(&pairs, &n.to_string())), None);
        }
        assert!(chains.hashes < MAX_HASHES + 100, "{}", chains.hashes);
    }

    #[test]
    fn names_say_who_and_cannot_be_those_of_a_gateway() {
        let id = "0123456789ABCDEF".repeat(4);
        for (program, id, expected) in [
            ("pattoo_agent_linux_autonomousd", id.as_str(), Some("linux_autonomousd:0123456789abcdef")),
            ("ticker", "plant7", Some("ticker:plant7")),
            ("stock ticker", "plant 7", None),
            ("<script>", "", None),
        ] {
            let name = gateway(program, id);
            assert!(check_name(&name).is_err() && is_agent(&name) && name.len() <= 64 && !name.contains('<'), "{name}");
            assert!(expected.is_none_or(|expected| name == expected), "{name}");
        }
    }

    #[test]
    fn a_point_has_its_identity_in_brackets_whatever_the_order() {
        let point = |pairs: &[(&str, &'static str)]| {
            let mut pairs: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            super::point("used", &mut pairs)
        };
        assert_eq!(point(&[]), "used");
        assert_eq!(point(&[("mountpoint", "/"), ("device", "sda1")]), "used[device=sda1,mountpoint=/]");
        assert_eq!(point(&[("device", "sda1"), ("mountpoint", "/")]), "used[device=sda1,mountpoint=/]");
        assert_ne!(point(&[("a", "1,b=2")]), point(&[("a", "1"), ("b", "2")]));
        assert_eq!(point(&[("a", "x\ny")]), "used[a=x\\ny]");
        let long = "é".repeat(300);
        let mut pairs = vec![("a".to_owned(), long.as_str())];
        let short = super::point("used", &mut pairs);
        assert!(short.len() <= MAX_NAME_BYTES && short.starts_with("used[a=éé") && short.contains("…#"), "{short}");
    }

    #[test]
    fn labels_are_words_and_bounded() {
        assert_eq!(label_key(" Department  Name (old)"), "department_name_old");
        assert_eq!(label_key("<script>"), "script");
        let long = "é".repeat(600);
        assert!(label(&long).len() <= 255 && label(&long).ends_with('…'));
        assert_eq!(label("a\0b"), "a\u{fffd}b");
    }
}
