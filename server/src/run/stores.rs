//! Shell: opens the store that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::read_secret;
use crate::broker::tls;
use crate::config::{self, Config};
use crate::store::Store;
use crate::store::embedded::{Budget, Embedded};
use crate::store::victoria::{Settings, Victoria};

fn ledger(config: &Config) -> PathBuf {
    config.data.join("pattoo.redb")
}

fn place(config: &Config) -> String {
    format!("data folder {} (`data:` in the configuration, PATTOO_DATA or --data name another)", config.data.display())
}

/// The store. It blocks.
pub(crate) fn open_store(config: &Config) -> Result<Arc<dyn Store>> {
    let ledger = ledger(config);
    Ok(match &config.store {
        config::Store::Embedded if Victoria::is_at(&ledger) => bail!(
            "data folder {}: part of its history is in VictoriaMetrics; name that again by `store: {{ victoria: … }}`, or give this server \
             another `data` folder",
            config.data.display()
        ),
        config::Store::Embedded => Arc::new(Embedded::open_within(&ledger, Budget::of(config.memory)).with_context(|| place(config))?),
        config::Store::Victoria(victoria) => Arc::new(Victoria::open(&ledger, settings(config, victoria)?).with_context(|| place(config))?),
    })
}

/// The same without its thread, for whoever lets go of days itself; and how long readings stay here at least.
pub(crate) fn open_victoria_alone(config: &Config, settle: Duration) -> Result<(Victoria, Duration)> {
    let config::Store::Victoria(victoria) = &config.store else {
        bail!("the configuration keeps all history in the data folder; say by `store: {{ victoria: {{ url: … }} }}` where it is to go");
    };
    let settings = Settings { settle, ..settings(config, victoria)? };
    Ok((Victoria::open_alone(&ledger(config), settings).with_context(|| place(config))?, victoria.keep))
}

fn settings(config: &Config, victoria: &config::Victoria) -> Result<Settings> {
    let token = victoria.token.as_deref().map(|file| {
        let token = String::from_utf8(read_secret(file)?).ok().map(|text| text.trim().to_owned());
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
        token.with_context(|| format!("{}: expected one line with a token", file.display()))
    });
    let over_tls = [&victoria.write, &victoria.read].iter().any(|url| url.starts_with("https://"));
    let authorities = if over_tls { tls::authorities(victoria.ca.as_deref())? } else { Vec::new() };
    Ok(Settings {
        authorities,
        authorization: token.transpose()?.map(|token| format!("Bearer {token}")),
        budget: Budget::of(config.memory),
        keep: victoria.keep,
        max_bytes: victoria.max_bytes,
        accept_partial: victoria.accept_partial,
        ..Settings::new(&victoria.write, &victoria.read)
    })
}
