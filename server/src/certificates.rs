//! Shell: looks now and then when the certificates end that the configuration names, and says so in time, in the log and for the metrics.
//! What the server makes for itself has no end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::Warning;
use tracing::warn;

use crate::broker::tls;
use crate::clock;
use crate::config::{Broker, Config, Identity};
use crate::live::Live;

/// They end on days.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// A file of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pem {
    path: PathBuf,
    /// Of authorities one that is new may lie beside one that is old; of a chain each is needed.
    authorities: bool,
}

fn named(config: &Config) -> Vec<Pem> {
    let chain = |path: &Path| Pem { path: path.to_owned(), authorities: false };
    let authorities = |path: &PathBuf| Pem { path: path.clone(), authorities: true };
    let shown = |identity: &Identity| match identity {
        Identity::Files { certificate, .. } => Some(chain(certificate)),
        Identity::Own { .. } => None,
    };
    let mut all: Vec<Pem> = config.http.tls.as_ref().and_then(shown).into_iter().collect();
    match &config.broker {
        Broker::Embedded { tls, .. } => {
            all.extend(tls.as_ref().and_then(|tls| shown(&tls.identity)));
            all.extend(tls.as_ref().and_then(|tls| tls.client_ca.as_ref()).map(authorities));
        }
        Broker::External { ca, certificate, .. } => {
            all.extend(certificate.as_ref().map(|(certificate, _)| chain(certificate)));
            all.extend(ca.as_ref().map(authorities));
        }
    }
    all
}

/// Those that can be read, by their files, each once, ms since 1970; what cannot be read is an error elsewhere.
fn look(files: &[Pem]) -> Vec<(String, i64)> {
    let end = |file: &Pem| {
        let ends = tls::ends(&file.path).unwrap_or_default().into_iter();
        let ends_ms = if file.authorities { ends.max() } else { ends.min() };
        Some((file.path.display().to_string(), ends_ms?))
    };
    let mut all: Vec<_> = files.iter().filter_map(end).collect();
    all.sort();
    all.dedup_by(|one, other| one.0 == other.0);
    all
}

fn warnings(ends: &[(String, i64)], now_ms: i64) -> Vec<Warning> {
    let warning = |(file, ends_ms): &(String, i64)| Warning::of_certificate(file, *ends_ms, now_ms, "replace it");
    ends.iter().filter_map(warning).collect()
}

/// Never ends.
pub(crate) async fn watch(config: Config, live: Arc<Live>) {
    let files = named(&config);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut before = Vec::new();
    loop {
        ticks.tick().await;
        let files = files.clone();
        let Ok(ends) = tokio::task::spawn_blocking(move || look(&files)).await else { continue };
        let now = warnings(&ends, clock::now_ms());
        // The words are others each day.
        now.iter().filter(|warning| !before.contains(*warning)).for_each(|warning| warn!("{}", warning.text));
        before = now;
        live.set_certificates(ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::authority::Authority;
    use crate::config;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    #[test]
    fn files_that_the_configuration_names_are_warned_of_before_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let authority = Authority::new().unwrap().0;
        let make = |ends_ms| authority.sign_client("x", ends_ms).unwrap().pem;
        std::fs::write(at("short.pem"), make(20 * DAY_MS) + &make(9 * DAY_MS)).unwrap();
        std::fs::write(at("long.pem"), make(90 * DAY_MS)).unwrap();
        std::fs::write(at("rubbish.pem"), "rubbish").unwrap();
        let ends = |text: &str| {
            let text = ["short", "long", "rubbish", "none"]
                .iter()
                .fold(text.to_owned(), |text, name| text.replace(name, &at(&format!("{name}.pem"))));
            look(&named(&config::parse(Path::new("server.yaml"), &text, |_| None).unwrap()))
        };
        let (short, long) = ((at("short.pem"), 9 * DAY_MS), (at("long.pem"), 90 * DAY_MS));
        for (text, expected) in [
            ("http: { tls: auto }", vec![]),
            ("http: { tls: { certificate: short, key: none } }", vec![short.clone()]),
            (
                "http: { tls: { certificate: long, key: none } }\nbroker: { tls: { certificate: short, key: none } }",
                vec![long.clone(), short.clone()],
            ),
            ("broker: { tls: { certificate: rubbish, key: none, client_ca: short } }", vec![(at("short.pem"), 20 * DAY_MS)]),
            ("broker: { url: mqtts://ops.example, ca: long, certificate: none, key: none }", vec![long.clone()]),
        ] {
            let mut found = ends(text);
            found.sort_by_key(|(file, _)| file.contains("short"));
            assert_eq!(found, expected, "{text}");
        }
        let texts = |now_ms| warnings(&[short.clone(), long.clone()], now_ms).into_iter().map(|warning| warning.text).collect::<Vec<_>>();
        assert_eq!(texts(2 * DAY_MS), [format!("{} ends in 7 days: replace it", at("short.pem"))]);
        assert_eq!(texts(-60 * DAY_MS), [""; 0]);
    }
}
