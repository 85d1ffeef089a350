//! What points are called in the reader's language: which languages there are, which one the reader has, and more of them by a pack.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Asked;
use super::error::ErrorBody;
use super::identity::reader;
use super::params::{Nothing, Strict};
use super::session::read;
use super::{ApiError, ApiState};
use crate::store::SeriesEntry;
use crate::translations::file::TranslationsFileError;
use crate::translations::{Imported, LanguageSize, Translations, TranslationsError, language};

/// Languages.
#[derive(Serialize, ToSchema)]
pub(super) struct Languages {
    /// The reader's: the chosen one, or that of the site.
    language: String,
    /// Those that there are translations into.
    languages: Vec<LanguageSize>,
}

/// A choice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageChoice {
    /// One of the languages there are.
    language: String,
}

/// How things are called for one reader.
pub(super) struct Tongue {
    all: Arc<Translations>,
    language: String,
}

impl Tongue {
    /// That of whoever asks.
    pub(super) fn of(state: &ApiState, asked: &Asked) -> Self {
        let all = state.pages.translations.now();
        let language = all.language_of(&reader(asked), &state.pages.language).to_owned();
        Self { all, language }
    }

    /// What a series is called, and its unit.
    pub(super) fn series(&self, entry: &SeriesEntry) -> (String, String) {
        let own = || (None, entry.entry.unit.clone());
        let (name, unit) = self.all.words(&self.language).map_or_else(own, |words| words.series(entry));
        (name.unwrap_or_else(|| entry.entry.point.clone()), unit)
    }

    /// What a profile or agent program is called.
    pub(super) fn program(&self, profile: &str) -> String {
        self.all.words(&self.language).and_then(|words| words.program(profile)).unwrap_or(profile).to_owned()
    }
}

/// Languages that points are translated into.
#[utoipa::path(get, path = "/api/v1/translations", responses((status = 200, body = Languages),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn languages(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Json<Languages> {
    let tongue = Tongue::of(&state, &asked);
    Json(Languages { languages: tongue.all.sizes(), language: tongue.language })
}

/// Takes a language pack of the Python Pattoo.
///
/// CSV with the columns `language,key,translation,units` (points) or `language,key,translation` (agent programs). What is there of a key
/// is replaced; a row without translation and units takes it away. Rows that cannot be taken are named, and cost only themselves.
#[utoipa::path(post, path = "/api/v1/translations", request_body(content = String, content_type = "text/csv"), responses(
    (status = 200, body = Imported), (status = 400, body = ErrorBody, description = "a parameter is not known, or it is no pack"),
    (status = 503, body = ErrorBody, description = "the translations cannot be kept")))]
pub(super) async fn import(
    State(state): State<ApiState>,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Json<Imported>, ApiError> {
    changed(&state, move |all| all.import(&body)).await.map(Json)
}

/// Chooses the language of the reader.
#[utoipa::path(put, path = "/api/v1/language", request_body = LanguageChoice, responses((status = 200, body = Languages),
    (status = 400, body = ErrorBody, description = "a parameter is not known, or there are no translations into that language"),
    (status = 503, body = ErrorBody, description = "the choice cannot be kept")))]
pub(super) async fn choose(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Languages>, ApiError> {
    let choice: LanguageChoice = read(&headers, &body)?;
    let (who, code) = (reader(&asked), language(&choice.language).unwrap_or(choice.language));
    changed(&state, move |all| all.choose(&who, &code)).await?;
    let tongue = Tongue::of(&state, &asked);
    Ok(Json(Languages { languages: tongue.all.sizes(), language: tongue.language }))
}

async fn changed<T: Send + 'static>(
    state: &ApiState,
    change: impl FnOnce(&mut Translations) -> Result<T, TranslationsError> + Send + 'static,
) -> Result<T, ApiError> {
    let translations = state.pages.translations.clone();
    let changed = tokio::task::spawn_blocking(move || translations.change(change)).await;
    match changed.map_err(|e| ApiError::internal(e.to_string()))? {
        Ok((result, _)) => Ok(result),
        Err(TranslationsFileError::Refused(refused)) => Err(ApiError::bad(refused.to_string())),
        Err(error) => Err(ApiError::unavailable(error.to_string())),
    }
}
