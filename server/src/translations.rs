//! What points and agent programs are called in people's languages, and their units: the language packs of the Python Pattoo. Pure.
//!
//! A pack is a CSV file. A key is `<agent program>_<key>`, or `<profile>_<point>` of a gateway of ours, so it finds its series by
//! itself. Opens no file (`translations/file`).

pub mod file;
mod pack;

use std::collections::BTreeMap;

use pattoo_wire::Kind;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

pub use pack::{Imported, PackError, Problem};

use crate::store::SeriesEntry;

/// Largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Most words of all languages together.
pub const MAX_WORDS: usize = 50_000;
/// Most readers that have chosen a language: all users, and those without a login.
const MAX_READERS: usize = 1024;
/// The language where nobody says another one, as that Pattoo had it.
pub const DEFAULT_LANGUAGE: &str = "en";

const FORMAT: &str = "pattoo translations 1";

/// ISO 639-1: a code that is none of these is a slip.
const LANGUAGES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en \
    eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn \
    ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps \
    pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo \
    wa wo xh yi yo za zh zu";

/// Why something is not done.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TranslationsError {
    /// Not the text that this program writes.
    #[error("{0}; move the file away to begin anew")]
    Text(String),
    /// A pack that cannot be read at all.
    #[error("{0}")]
    Pack(#[from] PackError),
    /// A language that has no translations.
    #[error("there are no translations into {0:?}; there are: {1}")]
    Unknown(String, String),
    /// As many as there may be.
    #[error("{MAX_READERS} readers have chosen a language, no more can")]
    Full,
}

/// All translations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translations {
    languages: BTreeMap<String, Words>,
    /// Who reads in which language.
    readers: BTreeMap<String, String>,
}

/// What things are called in one language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    points: BTreeMap<String, Word>,
    programs: BTreeMap<String, String>,
}

/// What one point is called, and its unit; empty where the pack has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    name: String,
    unit: String,
}

/// How much there is in a language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LanguageSize {
    /// Its code.
    pub language: String,
    /// Keys of points.
    pub points: usize,
    /// Names of agent programs.
    pub programs: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    languages: BTreeMap<String, Words>,
    readers: BTreeMap<String, String>,
}

/// The code of a language as it is kept: ISO 639-1, with a country where wanted, as in `pt-br`.
#[must_use]
pub fn language(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_lowercase().replace('_', "-");
    let (base, country) = code.split_once('-').map_or((code.as_str(), None), |(base, country)| (base, Some(country)));
    let known = base.len() == 2 && LANGUAGES.split_ascii_whitespace().any(|one| one == base);
    let fits = country.is_none_or(|country| country.len() == 2 && country.bytes().all(|b| b.is_ascii_lowercase()));
    (known && fits).then_some(code)
}

impl Translations {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// It is not as this program wrote it.
    pub fn parse(text: &str) -> Result<Self, TranslationsError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(TranslationsError::Text(format!("found more than {MAX_FILE_BYTES} bytes")));
        }
        let stored: Stored = serde_json::from_str(text).map_err(|e| TranslationsError::Text(e.to_string()))?;
        match stored.format == FORMAT {
            true => Ok(Self { languages: stored.languages, readers: stored.readers }),
            false => Err(TranslationsError::Text(format!("found format {:?}, expected {FORMAT:?}", stored.format))),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let stored = Stored { format: FORMAT.into(), languages: self.languages.clone(), readers: self.readers.clone() };
        serde_json::to_string_pretty(&stored).unwrap_or_default()
    }

    /// The languages there are.
    #[must_use]
    pub fn sizes(&self) -> Vec<LanguageSize> {
        let size = |(language, words): (&String, &Words)| LanguageSize {
            language: language.clone(),
            points: words.points.len(),
            programs: words.programs.len(),
        };
        self.languages.iter().map(size).collect()
    }

    /// Takes a language pack: what is there of a key already is replaced, a row that says nothing takes it away. Rows that cannot be
    /// taken cost only themselves.
    ///
    /// # Errors
    /// It is no pack at all, and nothing was taken.
    pub fn import(&mut self, csv: &[u8]) -> Result<Imported, TranslationsError> {
        Ok(pack::import(self, csv)?)
    }

    /// Has a reader read in this language.
    ///
    /// # Errors
    /// There is no such one.
    pub fn choose(&mut self, reader: &str, language: &str) -> Result<(), TranslationsError> {
        if !self.languages.contains_key(language) {
            let known = self.languages.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(TranslationsError::Unknown(language.chars().take(20).collect(), known));
        }
        if self.readers.len() >= MAX_READERS && !self.readers.contains_key(reader) {
            return Err(TranslationsError::Full);
        }
        self.readers.insert(reader.to_owned(), language.to_owned());
        Ok(())
    }

    /// The language of a reader: the chosen one, or that of the site.
    #[must_use]
    pub fn language_of<'a>(&'a self, reader: &str, site: &'a str) -> &'a str {
        self.readers.get(reader).filter(|language| self.languages.contains_key(*language)).map_or(site, String::as_str)
    }

    /// The words of a language; none where there are no translations into it.
    #[must_use]
    pub fn words(&self, language: &str) -> Option<&Words> {
        self.languages.get(language)
    }
}

impl Words {
    /// What a series is called, if it is translated, and its unit, which is its own where it has one.
    #[must_use]
    pub fn series(&self, series: &SeriesEntry) -> (Option<String>, String) {
        let point = &series.entry.point;
        // What is in brackets tells one row of a table from another.
        let (key, row) = point.split_at(point.find('[').unwrap_or(point.len()));
        let word = keys(&series.profile, key).find_map(|key| self.points.get(&key));
        let name = word.filter(|word| !word.name.is_empty()).map(|word| match row {
            "" => word.name.clone(),
            row => format!("{} {row}", word.name),
        });
        let unit = match (series.entry.unit.as_str(), word) {
            ("", Some(word)) if series.entry.kind == Kind::Counter => counted(&word.unit).to_owned(),
            ("", Some(word)) => word.unit.clone(),
            (own, _) => own.to_owned(),
        };
        (name, unit)
    }

    /// What an agent program, or the profile of a device, is called.
    #[must_use]
    pub fn program(&self, profile: &str) -> Option<&str> {
        self.programs.get(&profile.to_lowercase()).map(String::as_str)
    }
}

/// The keys by which a point may be found. The agents for Linux had two names; the packs know only the later one.
fn keys(profile: &str, key: &str) -> impl Iterator<Item = String> {
    let later = profile.strip_prefix("pattoo_agent_os_").map(|rest| format!("pattoo_agent_linux_{rest}"));
    let key = key.to_lowercase();
    [Some(profile.to_owned()), later].into_iter().flatten().map(move |profile| format!("{}_{key}", profile.to_lowercase()))
}

/// The unit in which a counter counts, of the unit of its rate: the packs have rates in mind.
fn counted(unit: &str) -> &str {
    let lower = unit.to_ascii_lowercase();
    let end = ["second", "sec", "s"].into_iter().find_map(|time| {
        let rest = lower.strip_suffix(time)?.trim_end();
        rest.strip_suffix('/').or_else(|| rest.strip_suffix(" per")).map(|rest| rest.trim_end().len())
    });
    unit.get(..end.unwrap_or(unit.len())).unwrap_or(unit)
}

#[cfg(test)]
mod tests;
