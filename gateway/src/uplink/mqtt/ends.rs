//! When the certificates of the way to the server end: one's own, the authorities', and what brokers show. Shell: reads the files once, as
//! they are in use from then on.

use crate::config::Broker;
use crate::tls::{self, Shown};

/// Those of all brokers.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    own: Vec<(String, i64)>,
    shown: Vec<(String, Shown)>,
}

impl Ends {
    /// Adds those of a broker; gives where that is noted which it shows.
    pub(super) fn of(&mut self, broker: &Broker) -> &Shown {
        if broker.url.starts_with("mqtts://") {
            let own = tls::ends(broker.ca.as_deref(), broker.identity.as_ref());
            // Brokers may have files together.
            own.into_iter().for_each(|end| {
                if !self.own.contains(&end) {
                    self.own.push(end)
                }
            });
        }
        let at = self.shown.len();
        self.shown.push((format!("the certificate of {}", broker.url), Shown::default()));
        &self.shown[at].1
    }

    /// By what each is, ms since 1970.
    #[must_use]
    pub fn known(&self) -> Vec<(String, i64)> {
        let shown = self.shown.iter().filter_map(|(what, shown)| Some((what.clone(), shown.ends_ms()?)));
        self.own.iter().cloned().chain(shown).collect()
    }
}
