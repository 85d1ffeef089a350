//! The `clock` section of the configuration.

use super::read::path;
use super::{CLOCK_NTP_FILE, CLOCK_TRUST, Clock};
use crate::timebase::Trust;
use crate::yaml::{Fields, Problems};

pub(super) fn clock(top: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Clock> {
    let before = problems.count();
    let mut clock = Clock { trust: CLOCK_TRUST, ntp_file: CLOCK_NTP_FILE.into() };
    if let Some(field) = top.optional("clock") {
        let fields = Fields::read(field.node, "clock", &["trust", "ntp_file"], problems)?;
        let names = [("auto", Trust::Auto), ("system", Trust::System)];
        if let Some(trust) = fields.optional("trust").and_then(|field| field.choice(&names, problems)) {
            clock.trust = trust;
        }
        if let Some(file) = fields.optional("ntp_file").and_then(|field| path(&field, problems)) {
            clock.ntp_file = file;
        }
    }
    (problems.count() == before).then_some(clock)
}
