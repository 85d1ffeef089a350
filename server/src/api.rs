//! The HTTP API: lists, latest values, ranges for charts, metrics and health, and the OpenAPI document that describes them.
//! Shell: it reads the clock and calls the store on blocking threads. It knows no backend; what it writes are dashboards and favourites.
//!
//! Every route goes through `utoipa_axum::routes!`, so none can exist without being in the document, and through the guard
//! in `access`, which has a row for each.

mod access;
mod counters;
mod dashboards;
mod error;
mod export;
mod favourites;
mod follow;
mod forwarded;
mod identity;
pub mod listener;
mod lists;
mod ops;
mod params;
mod people;
mod range;
mod session;
mod slots;
mod tagging;
mod translations;
mod values;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use tokio::sync::{Semaphore, watch};
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::ApiError;

use crate::auth::Auth;
use crate::dashboards::Dashboards;
use crate::favourites::Favourites;
use crate::live::Live;
use crate::store::{Store, StoreError};
use crate::translations::file::Kept;
use ops::Traffic;

/// Store calls that run at the same time: more would only queue on the same disk.
const STORE_CALLS: usize = 4;

/// How long a request may wait for a store call and its answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest request body, in bytes: 100 favourites with the longest titles and links.
const MAX_BODY_BYTES: usize = 512 << 10;

/// Scripts, styles and requests only from here; nobody may frame the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// What people made for the page.
#[derive(Debug)]
pub struct Pages {
    /// Dashboards.
    pub dashboards: Arc<Dashboards>,
    /// Favourites.
    pub favourites: Arc<Favourites>,
    /// Time zone of the plant.
    pub zone: Option<String>,
    /// What things are called.
    pub translations: Arc<Kept>,
    /// Language of readers that chose none.
    pub language: String,
}

/// What the API answers from.
#[derive(Clone)]
pub struct ApiState {
    store: Arc<dyn Store>,
    live: Arc<Live>,
    pages: Arc<Pages>,
    store_calls: Arc<Semaphore>,
    traffic: Arc<Traffic>,
    followers: follow::Followers,
    auth: Arc<Auth>,
}

impl ApiState {
    /// Answers from this store, what is known live, and what people made, to whom `auth` lets in. Answers without an end end once
    /// `stopped` is true.
    pub fn new(store: Arc<dyn Store>, live: Arc<Live>, pages: Pages, auth: Arc<Auth>, stopped: watch::Receiver<bool>) -> Self {
        let followers = follow::Followers::new(crate::clock::now_ms(), stopped);
        let (store_calls, traffic) = (Arc::new(Semaphore::new(STORE_CALLS)), Arc::new(Traffic::default()));
        Self { store, live, pages: Arc::new(pages), store_calls, traffic, followers, auth }
    }

    /// Runs a store call on a blocking thread. A call that outlives its request keeps its place until it ends.
    async fn ask<T: Send + 'static>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static) -> Result<T, ApiError> {
        let asked = async {
            let place = Arc::clone(&self.store_calls).acquire_owned().await.map_err(|e| ApiError::internal(e.to_string()))?;
            let store = Arc::clone(&self.store);
            let answer = tokio::task::spawn_blocking(move || {
                let _place = place;
                call(store.as_ref())
            });
            answer.await.map_err(|e| ApiError::internal(e.to_string()))?.map_err(ApiError::store)
        };
        tokio::time::timeout(QUERY_TIMEOUT, asked).await.unwrap_or_else(|_| Err(ApiError::too_slow(QUERY_TIMEOUT)))
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Pattoo",
    description = "Gateways, devices, series and their readings. Times are UTC in ms since 1970. \
                   An unknown query parameter is an error, so that a misspelt one is never ignored."
))]
struct Document;

fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(lists::gateways))
        .routes(routes!(lists::devices))
        .routes(routes!(lists::series))
        .routes(routes!(values::latest))
        .routes(routes!(range::range))
        .routes(routes!(export::export))
        .routes(routes!(slots::slots))
        .routes(routes!(follow::live))
        .routes(routes!(session::session, session::login, session::logout))
        .routes(routes!(session::login_by_link))
        .routes(routes!(session::choose_password))
        .routes(routes!(people::tokens, people::add_token))
        .routes(routes!(people::revoke_token))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::change_user))
        .routes(routes!(people::reset_user))
        .routes(routes!(people::audit))
        .routes(routes!(dashboards::list))
        .routes(routes!(dashboards::read, dashboards::save, dashboards::change, dashboards::delete))
        .routes(routes!(dashboards::show))
        .routes(routes!(dashboards::schema))
        .routes(routes!(favourites::favourites, favourites::keep))
        .routes(routes!(favourites::site))
        .routes(routes!(translations::languages, translations::import))
        .routes(routes!(translations::choose))
        .routes(routes!(ops::openapi))
        .routes(routes!(ops::metrics))
        .routes(routes!(ops::healthz))
        .routes(routes!(ops::readyz))
}

/// The whole HTTP service: the API and the page.
pub fn router(state: ApiState) -> Router {
    let (routes, mut document) = documented().split_for_parts();
    let secure = state.auth.door().secure;
    access::describe(&mut document, &state.auth.cookie(secure));
    let fixed = |name: HeaderName, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let router = routes
        .route_layer(middleware::from_fn(tagging::tag))
        .route_layer(middleware::from_fn_with_state(state.clone(), access::guard))
        .route_layer(middleware::from_fn_with_state(state.clone(), ops::count_known))
        .fallback(crate::web::serve)
        .layer(Extension(document))
        .with_state(state)
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, REQUEST_TIMEOUT))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        // What is one user's must not wait in a cache for the next.
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    if secure { router.layer(fixed(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000")) } else { router }
}

#[cfg(test)]
mod tests;
