//! Judges a configuration that is to replace the one that runs. Reads files; starts nothing.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, oneshot};

use crate::batch::Builder;
use crate::config::{self, Config, Loaded};
use crate::control::Answer;
use crate::uplink::mqtt::Client;
use crate::yaml::Problem;

/// Requests that wait; one more makes its sender wait.
const MAX_REQUESTS: usize = 4;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub config: PathBuf,
    /// Folders of profiles; later ones win.
    pub profiles: Vec<PathBuf>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        config::load(&self.config, &self.profiles, &|name| std::env::var(name).ok())
    }
}

/// Asks the daemon to take over its configuration as it is now; answered once that is judged.
pub type Request = oneshot::Sender<Answer>;

/// What makes the daemon read its configuration again.
pub struct Reload {
    /// From where.
    pub source: Source,
    /// Where requests go; the control socket has one as well.
    pub asks: mpsc::Sender<Request>,
    /// Where they come from.
    pub requests: mpsc::Receiver<Request>,
}

impl Reload {
    /// Without any request yet.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let (asks, requests) = mpsc::channel(MAX_REQUESTS);
        Self { source, asks, requests }
    }
}

/// What a configuration needs before its parts can start. What can be wrong with it has been found out.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) problems: Vec<Problem>,
    pub(super) client: Client,
    pub(super) builder: Builder,
}

impl Parts {
    /// Reads the files that the uplink needs.
    pub(super) fn of(Loaded { config, problems, .. }: Loaded) -> Result<Self> {
        let client = Client::new(&config).context("uplink")?;
        let builder = Builder::new(&config).context("the devices and their labels do not fit one schema: shorten the labels")?;
        Ok(Self { config: Arc::new(config), problems, client, builder })
    }
}

/// The new parts, or why the old ones stay. `running` is what was left out of the configuration that runs: a profile that is bad all along
/// is in nobody's way.
pub(super) fn judge(source: &Source, now: &Config, running: &[Problem]) -> Result<Parts, String> {
    let problems = match source.load() {
        Ok(loaded) => {
            let new: Vec<_> = loaded.problems.iter().filter(|problem| !running.contains(problem)).cloned().collect();
            if new.is_empty() {
                return fits(now, &loaded.config).and_then(|()| Parts::of(loaded).map_err(|error| format!("{error:#}")));
            }
            new
        }
        Err(problems) => problems,
    };
    Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The buffer stays open, with all that waits in it.
fn fits(now: &Config, new: &Config) -> Result<(), String> {
    let buffer = config::Buffer { commit_window: now.buffer.commit_window, ..new.buffer.clone() };
    if buffer == now.buffer {
        return Ok(());
    }
    Err("found another `buffer:` than the one that is open, expected the same but for `commit_window`: restart the gateway to change it"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const GOOD: &str = "gateway: plant7\nuplink: { url: 'mqtt://127.0.0.1:1' }\nbuffer: { path: BUFFER }\nlinks:\n  plc: { tcp: 10.0.0.5:502 }\n\
                        devices:\n  - { name: meter, profile: eastron-sdm630, link: plc }\n";

    #[test]
    fn a_configuration_that_is_worse_than_the_running_one_does_not_replace_it_and_says_which_line() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("profiles");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("bad.yaml"), "schema: 1\nid: bad\n").unwrap();
        let profiles = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles"), own];
        let source = Source { config: folder.path().join("gateway.yaml"), profiles };
        let text = GOOD.replace("BUFFER", &folder.path().join("buffer").display().to_string());
        fs::write(&source.config, &text).unwrap();
        let running = source.load().unwrap();
        let left_out = running.problems.len();
        assert!(left_out > 0, "a profile folder with one bad file");
        for (from, to, expected) in [
            ("10.0.0.5", "10.0.0.6", None),
            ("meter, ", "meter2, ", None),
            ("gateway: plant7", "gateway: [", Some("gateway.yaml:")),
            ("link: plc }", "link: plc, evry: 5s }", Some("gateway.yaml:7:")),
            ("eastron-sdm630", "eastron-sdm63", Some("gateway.yaml:7:")),
            ("/buffer }", "/other }", Some("restart the gateway")),
            ("127.0.0.1:1'", "127.0.0.1:1', credentials: /nowhere", Some("/nowhere")),
        ] {
            fs::write(&source.config, text.replace(from, to)).unwrap();
            let judged = judge(&source, &running.config, &running.problems).map(|parts| parts.problems.len());
            match expected {
                None => assert_eq!(judged, Ok(left_out), "{to}"),
                Some(expected) => assert!(judged.as_ref().is_err_and(|why| why.contains(expected)), "{to}: {judged:?}"),
            }
        }
    }
}
