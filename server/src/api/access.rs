//! Who may ask what: one row for each route, and the guard that stands before all of them. Shell.
//!
//! A route without a row is closed to everybody. A cookie alone changes nothing: a change must come from the page itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, PathItem, Ref, ResponseBuilder, path::Operation};

use super::forwarded::client;
use super::{ApiError, ApiState};
use crate::auth::{Auth, By, Caller};
use crate::clock::now_ms;
use crate::ingest::agents::Peer;
use crate::users::Role;
use crate::users::audit::Entry;
use crate::users::lockout::{Asker, Source};

/// How often it is looked whether somebody who follows still may.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a route asks of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: everybody may.
    Nothing,
    /// A session, whatever its role, and even where a password has to be chosen first.
    Session,
    /// This role.
    Role(Role),
}

const READ: Needs = Needs::Role(Role::Viewer);
const CHANGE: Needs = Needs::Role(Role::Operator);
const ADMIN: Needs = Needs::Role(Role::Admin);

/// All routes. HEAD is as GET.
pub(super) const ROUTES: &[(&str, &str, Needs)] = &[
    ("GET", "/healthz", Needs::Nothing),
    ("GET", "/readyz", READ),
    ("GET", "/metrics", READ),
    ("GET", "/api/v1/openapi.json", READ),
    ("GET", "/api/v1/gateways", READ),
    ("GET", "/api/v1/devices", READ),
    ("GET", "/api/v1/series", READ),
    ("GET", "/api/v1/latest", READ),
    ("GET", "/api/v1/range", READ),
    ("GET", "/api/v1/live", READ),
    ("GET", "/api/v1/export.csv", READ),
    ("GET", "/pattoo/api/v1/web/rest/data/{idx_datapoint}", READ),
    ("GET", "/api/v1/site", READ),
    ("GET", "/api/v1/translations", READ),
    ("POST", "/api/v1/translations", CHANGE),
    // Each reader's own.
    ("PUT", "/api/v1/language", READ),
    ("GET", "/api/v1/favourites", READ),
    // Each reader's own.
    ("PUT", "/api/v1/favourites", READ),
    ("GET", "/api/v1/dashboard.schema.json", READ),
    ("GET", "/api/v1/dashboards", READ),
    ("GET", "/api/v1/dashboards/{name}", READ),
    ("GET", "/api/v1/dashboards/{name}/shown", READ),
    ("PUT", "/api/v1/dashboards/{name}", CHANGE),
    ("PATCH", "/api/v1/dashboards/{name}", CHANGE),
    ("DELETE", "/api/v1/dashboards/{name}", CHANGE),
    ("GET", "/api/v1/session", Needs::Nothing),
    ("POST", "/api/v1/session", Needs::Nothing),
    ("DELETE", "/api/v1/session", Needs::Nothing),
    ("POST", "/api/v1/session/link", Needs::Nothing),
    ("PUT", "/api/v1/session/password", Needs::Session),
    ("GET", "/api/v1/tokens", Needs::Session),
    ("POST", "/api/v1/tokens", Needs::Session),
    ("DELETE", "/api/v1/tokens/{id}", Needs::Session),
    ("GET", "/api/v1/users", ADMIN),
    ("POST", "/api/v1/users", ADMIN),
    ("PATCH", "/api/v1/users/{name}", ADMIN),
    ("POST", "/api/v1/users/{name}/link", ADMIN),
    ("GET", "/api/v1/audit", ADMIN),
];

/// Who asks, where it is known, and from where: for handlers.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) caller: Option<Caller>,
    pub(super) address: IpAddr,
    pub(super) source: Source,
    /// Whether over TLS, on the last stretch to whoever asks.
    pub(super) secure: bool,
}

/// What a handler did, in better words than its route has; it puts that into its answer's extensions.
#[derive(Debug, Clone)]
pub(super) struct Did {
    pub(super) what: &'static str,
    pub(super) on: String,
    /// Who, where the request itself did not show it.
    pub(super) who: Option<String>,
}

fn needs(method: &Method, route: &str) -> Option<Needs> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|(of, path, _)| *of == method && *path == route).map(|(_, _, needs)| *needs)
}

/// Stands before every route.
pub(super) async fn guard(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let Some(needs) = needs(request.method(), &route) else { return ApiError::method().into_response() };
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|peer| peer.0.0);
    let Some(peer) = peer else { return ApiError::internal("BUG: a connection without an address".into()).into_response() };
    let asked = match admit(&state.auth, &parts, peer, needs) {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let changes = !parts.method.is_safe();
    let default = format!("{} {}", parts.method, parts.uri.path());
    parts.extensions.insert(asked.clone());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if changes {
        let did = response.extensions_mut().remove::<Did>();
        let (what, on, who) = did.map_or((default, String::new(), None), |did| (did.what.to_owned(), did.on, did.who));
        let who = who.or(asked.caller.as_ref().map(Caller::shown)).unwrap_or_default();
        let done = response.status().is_success();
        // Who has to wait has not tried anything yet: a flood of such requests must not flush the log.
        if response.status() != axum::http::StatusCode::TOO_MANY_REQUESTS {
            let from = asked.address.to_string();
            state.auth.record(Entry { time: now_ms(), who, from, what, on, done }).await;
        }
    }
    let streams = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    match asked.caller {
        Some(caller) if streams => ending(response, state, caller),
        _ => response,
    }
}

/// A stream ends when the right to it ends, and when the server stops.
fn ending(response: Response, state: ApiState, caller: Caller) -> Response {
    let (parts, body) = response.into_parts();
    let mut stopped = state.followers.stopped();
    let end = async move {
        let gone = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if !state.auth.still(&caller) {
                    return;
                }
            }
        };
        tokio::select! {
            () = gone => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().take_until(Box::pin(end))))
}

/// Who asks, if it may.
fn admit(auth: &Arc<Auth>, parts: &Parts, peer: SocketAddr, needs: Needs) -> Result<Asked, ApiError> {
    let client = client(&parts.headers, peer.ip(), &auth.door().proxies);
    let (address, source) = (client.address, Source::from(SocketAddr::new(client.address, peer.port())));
    let secure = auth.door().secure || client.tls;
    let caller = identify(auth, &parts.headers, address, secure);
    let changes = !parts.method.is_safe();
    if changes && caller.as_ref().is_ok_and(|caller| caller.as_ref().is_none_or(|caller| !matches!(caller.by, By::Token(_)))) {
        let cookie = caller.as_ref().is_ok_and(|caller| caller.as_ref().is_some_and(|caller| matches!(caller.by, By::Session(_))));
        from_here(&parts.headers, cookie)?;
    }
    let asker = match &caller {
        // Programs of this machine could do worse things to it than ask.
        Ok(Some(Caller { by: By::Nothing, .. })) => None,
        Ok(Some(caller)) => Some(Asker::Known(caller.shown())),
        Ok(None) | Err(_) => Some(Asker::Unknown(source)),
    };
    if asker.is_some_and(|asker| !auth.may_ask(&asker)) {
        return Err(ApiError::too_often(1, "too many requests; at most 100 in a second"));
    }
    let caller = caller?;
    match (needs, &caller) {
        (Needs::Nothing, _) => {}
        (_, None) => return Err(ApiError::login()),
        (Needs::Session, Some(caller)) if !matches!(caller.by, By::Session(_)) => {
            return Err(ApiError::forbidden("session_only", "only somebody who has logged in may do this, not a token"));
        }
        (Needs::Session, Some(_)) => {}
        (Needs::Role(_), Some(caller)) if caller.must_choose => {
            return Err(ApiError::forbidden("choose_password", "a password must be chosen first: PUT /api/v1/session/password"));
        }
        (Needs::Role(role), Some(caller)) if caller.role < role => {
            return Err(ApiError::forbidden("role", format!("this needs the role {}, yours is {}", role.name(), caller.role.name())));
        }
        (Needs::Role(_), Some(_)) => {}
    }
    Ok(Asked { caller, address, source, secure })
}

fn identify(auth: &Auth, headers: &HeaderMap, address: IpAddr, secure: bool) -> Result<Option<Caller>, ApiError> {
    if let Some(shown) = headers.get(header::AUTHORIZATION) {
        // A token that is no longer good must never read as somebody else.
        let token = shown.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return match token {
            Some((_, token)) => auth
                .by_token(token.trim())
                .map(Some)
                .ok_or_else(|| ApiError::unauthorized("this token is not known, was revoked or has expired")),
            None => Err(ApiError::unauthorized("expected `Authorization: Bearer pattoo_…`")),
        };
    }
    let session = cookie(headers, &auth.cookie(secure)).and_then(|id| auth.by_session(id));
    let anonymous = || Caller { user: String::new(), role: Role::Viewer, by: By::Nothing, must_choose: false };
    Ok(session.or_else(|| (auth.door().anonymous && direct(headers, address)).then(anonymous)))
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(of, _)| *of == name)
        .map(|(_, value)| value)
}

/// Whether a request comes from a program of this machine that asked for this machine: neither by a proxy, nor from a page of
/// elsewhere whose name was made to point here.
fn direct(headers: &HeaderMap, address: IpAddr) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "via"]
        .iter()
        .any(|name| headers.contains_key(*name));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name.parse::<IpAddr>().map_or(name.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback());
    address.is_loopback() && !forwarded && loopback
}

/// Whether a change comes from our own page. Browsers say where from; whoever has a cookie is one.
fn from_here(headers: &HeaderMap, cookie: bool) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    let ours = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)),
        (None, None) => !cookie,
    };
    let what =
        "found a change from another page, or that does not say from which; programs send `Authorization: Bearer …` in place of a cookie";
    if ours { Ok(()) } else { Err(ApiError::forbidden("cross_site", what)) }
}

/// Completes the document by what holds for each row: how to show who one is, and the answers of the guard.
pub(super) fn describe(document: &mut OpenApi, cookie: &str) {
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(cookie))));
    components.add_security_scheme("token", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
    let requires = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    for (route, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let needs = ROUTES.iter().find(|(of, path, _)| *of == method && path == route).map(|(_, _, needs)| *needs);
            operation.security = match needs {
                Some(Needs::Nothing) => Some(vec![SecurityRequirement::default()]),
                Some(Needs::Session) => Some(vec![requires("session")]),
                _ => Some(vec![requires("session"), requires("token")]),
            };
            for (status, what) in [
                ("401", "nobody has logged in, or a token is not good"),
                ("403", "the role does not allow it, or a change comes from another page"),
                ("429", "too many requests, or wrong passwords"),
            ] {
                let content = utoipa::openapi::ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
                let response = ResponseBuilder::new().description(what).content("application/json", content).build();
                operation.responses.responses.entry(status.into()).or_insert(response.into());
            }
        }
    }
}

/// The operations of a path, by method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_program_of_this_machine_that_asks_for_it_reads_without_a_login() {
        for (pairs, address, expected) in [
            (&[("host", "127.0.0.1:8080")][..], "127.0.0.1", true),
            (&[("host", "localhost")], "::1", true),
            (&[("host", "[::1]:8080")], "::1", true),
            (&[("host", "127.0.0.1:8080")], "10.0.0.1", false),
            (&[("host", "evil.example:8080")], "127.0.0.1", false),
            (&[("host", "localhost.evil.example")], "127.0.0.1", false),
            (&[], "127.0.0.1", false),
            (&[("host", "localhost"), ("x-forwarded-for", "10.0.0.1")], "127.0.0.1", false),
            (&[("host", "localhost"), ("forwarded", "for=10.0.0.1")], "127.0.0.1", false),
        ] {
            assert_eq!(direct(&headers(pairs), address.parse().unwrap()), expected, "{pairs:?} from {address}");
        }
    }

    #[test]
    fn a_change_comes_from_our_own_page_or_from_a_program_without_a_cookie() {
        for (pairs, cookie, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], true, true),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://a.example"), ("host", "a.example")], true, false),
            (&[("sec-fetch-site", "cross-site")], false, false),
            (&[("sec-fetch-site", "none")], true, false),
            (&[("origin", "https://ops.example:8443"), ("host", "ops.example:8443")], true, true),
            (&[("origin", "https://evil.example"), ("host", "ops.example")], true, false),
            (&[("origin", "null"), ("host", "ops.example")], true, false),
            (&[("host", "ops.example")], true, false),
            (&[("host", "ops.example")], false, true),
        ] {
            assert_eq!(from_here(&headers(pairs), cookie).is_ok(), expected, "{pairs:?} {cookie}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let found = headers(&[("cookie", "a=1; pattoo_session_80800=x; pattoo_session_8080=good=; b")]);
        assert_eq!(cookie(&found, "pattoo_session_8080"), Some("good="));
        assert_eq!(cookie(&found, "pattoo_session_80"), None);
    }
}
