//! Favourites of the reader, in the reader's order; and what the page must know of the site.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Asked;
use super::error::ErrorBody;
use super::identity::reader;
use super::params::{Nothing, Strict};
use super::{ApiError, ApiState};
use crate::favourites::{FavouritesError, List};

/// What holds for all of this server.
#[derive(Serialize, ToSchema)]
pub(super) struct Site {
    /// Time zone of the plant, as in `Europe/Vienna`; null where the configuration names none.
    zone: Option<String>,
}

/// The site.
#[utoipa::path(get, path = "/api/v1/site", responses((status = 200, body = Site),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn site(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Json<Site> {
    Json(Site { zone: state.pages.zone.clone() })
}

/// Favourites of the reader.
#[utoipa::path(get, path = "/api/v1/favourites", responses((status = 200, body = List),
    (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 503, body = ErrorBody, description = "they cannot be read")))]
pub(super) async fn favourites(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Json<List>, ApiError> {
    let favourites = state.pages.favourites.clone();
    told(tokio::task::spawn_blocking(move || favourites.of(&reader(&asked))).await)
}

/// Keeps the favourites of the reader: all of them, in this order, with the revision that was read. At most 100.
#[utoipa::path(put, path = "/api/v1/favourites", request_body = List, responses((status = 200, body = List),
    (status = 400, body = ErrorBody, description = "a parameter is not known, or a favourite is wrong"),
    (status = 412, body = ErrorBody, description = "they were changed meanwhile"),
    (status = 503, body = ErrorBody, description = "they cannot be kept")))]
pub(super) async fn keep(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Json<List>, ApiError> {
    let list: List = serde_json::from_slice(&body).map_err(|e| {
        ApiError::bad(format!("expected {{\"revision\": 0, \"favourites\": [{{\"title\": \"…\", \"link\": \"?…\"}}]}}: {e}"))
    })?;
    let favourites = state.pages.favourites.clone();
    told(tokio::task::spawn_blocking(move || favourites.keep(&reader(&asked), list)).await)
}

fn told(answer: Result<Result<List, FavouritesError>, tokio::task::JoinError>) -> Result<Json<List>, ApiError> {
    answer.map_err(|e| ApiError::internal(e.to_string()))?.map(Json).map_err(|e| match e {
        FavouritesError::Changed(_) => ApiError::changed(e.to_string()),
        FavouritesError::Wrong(what) => ApiError::bad(what),
        FavouritesError::Io { .. } => ApiError::unavailable(e.to_string()),
    })
}
