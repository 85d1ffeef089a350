//! Logging in and out, and the password of who has logged in.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Asked, Did};
use super::error::ErrorBody;
use super::params::{Nothing, Strict};
use super::{ApiError, ApiState};
use crate::auth::{Auth, By, LoginError};
use crate::users::sessions::ABSOLUTE_MS;
use crate::users::{Role, User};

/// Who has logged in.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// Name of the user; null where nobody has logged in.
    user: Option<String>,
    /// What may be done; null where nothing may be.
    role: Option<Role>,
    /// Whether a password has to be chosen before anything else.
    must_choose: bool,
    /// Whether there is a password, which must be told to choose another one.
    has_password: bool,
    /// Whether the server waits for its first user, who comes by the link that it printed.
    fresh: bool,
}

/// What a log-in needs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// Name of the user.
    #[schema(max_length = 64)]
    user: String,
    /// The password.
    #[schema(max_length = 256)]
    password: String,
}

/// What a log-in by a link needs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginLink {
    /// What stands behind `#link=` in the address.
    #[schema(max_length = 64)]
    link: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one until now; empty where there is none yet.
    #[schema(max_length = 256)]
    old: String,
    /// 12 to 256 bytes on one line.
    #[schema(min_length = 12, max_length = 256)]
    new: String,
}

/// The JSON of a body, nothing else. A browser sends none across pages without asking first.
pub(super) fn read<T: DeserializeOwned>(headers: &axum::http::HeaderMap, body: &Bytes) -> Result<T, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::bad(format!("found a body of type {kind:?}, expected application/json")));
    }
    serde_json::from_slice(body).map_err(|e| ApiError::bad(format!("body: {e}")))
}

impl ApiError {
    pub(super) fn of_login(error: LoginError) -> Self {
        match error {
            LoginError::Wrong | LoginError::Link => Self::unauthorized(error.to_string()),
            LoginError::Wait(seconds) => Self::too_often(seconds, error.to_string()),
            LoginError::Busy => Self::too_often(1, error.to_string()),
            LoginError::File(crate::users::file::UsersFileError::Refused(refused)) => Self::of_users(&refused),
            LoginError::File(_) => Self::unavailable(error.to_string()),
            LoginError::Internal(what) => Self::internal(what),
        }
    }
}

/// The cookie of a session; without an id it takes the cookie away.
fn cookie(auth: &Auth, secure: bool, id: Option<&str>) -> Result<HeaderValue, ApiError> {
    let name = auth.cookie(secure);
    let secure = if secure { "; Secure" } else { "" };
    let age = id.map_or(0, |_| ABSOLUTE_MS / 1000);
    let text = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}", id.unwrap_or_default());
    HeaderValue::from_str(&text).map_err(|e| ApiError::internal(e.to_string()))
}

fn begun(auth: &Auth, secure: bool, id: &str, user: &User, did: Did) -> Result<Response, ApiError> {
    let session = Session {
        user: Some(user.name.clone()),
        role: Some(user.role),
        must_choose: user.must_choose(),
        has_password: user.argon2.is_some(),
        fresh: false,
    };
    let mut response = ([(header::SET_COOKIE, cookie(auth, secure, Some(id))?)], Json(session)).into_response();
    response.extensions_mut().insert(did);
    Ok(response)
}

fn failed(error: LoginError, did: Did) -> Response {
    let mut response = ApiError::of_login(error).into_response();
    response.extensions_mut().insert(did);
    response
}

/// Who I am.
///
/// It answers without a login as well, so that the page knows what to ask for.
#[utoipa::path(get, path = "/api/v1/session", responses((status = 200, body = Session),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn session(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Json<Session> {
    let (caller, users) = (asked.caller, state.auth.users());
    Json(Session {
        has_password: caller.as_ref().is_some_and(|caller| users.get(&caller.user).is_ok_and(|user| user.argon2.is_some())),
        user: caller.as_ref().map(|caller| caller.user.clone()).filter(|user| !user.is_empty()),
        role: caller.as_ref().map(|caller| caller.role),
        must_choose: caller.as_ref().is_some_and(|caller| caller.must_choose),
        fresh: caller.is_none() && users.unused(),
    })
}

/// Log in by a password.
#[utoipa::path(post, path = "/api/v1/session", request_body = Login, responses((status = 200, body = Session),
    (status = 400, body = ErrorBody, description = "the body is not as it should be")))]
pub(super) async fn login(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    headers: axum::http::HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Login { user, password } = read(&headers, &body)?;
    let did = Did { what: "login", on: String::new(), who: Some(user.chars().take(64).collect()) };
    if user.len() > 64 || password.len() > 256 {
        return Ok(failed(LoginError::Wrong, did));
    }
    match state.auth.login(&user, &password, asked.source).await {
        Ok((id, user)) => begun(&state.auth, asked.secure, &id, &user, did),
        Err(error) => Ok(failed(error, did)),
    }
}

/// Log in by a link, once.
#[utoipa::path(post, path = "/api/v1/session/link", request_body = LoginLink, responses((status = 200, body = Session),
    (status = 400, body = ErrorBody, description = "the body is not as it should be")))]
pub(super) async fn login_by_link(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    headers: axum::http::HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let LoginLink { link } = read(&headers, &body)?;
    let did = |who| Did { what: "login by link", on: String::new(), who };
    match state.auth.login_by_link(&link, asked.source).await {
        Ok((id, user)) => begun(&state.auth, asked.secure, &id, &user, did(Some(user.name.clone()))),
        Err(error) => Ok(failed(error, did(None))),
    }
}

/// Log out.
#[utoipa::path(delete, path = "/api/v1/session", responses((status = 204, description = "logged out, or was not logged in"),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn logout(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, ApiError> {
    if let Some(By::Session(key)) = asked.caller.map(|caller| caller.by) {
        state.auth.logout(&key).await;
    }
    let mut response = (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&state.auth, asked.secure, None)?)]).into_response();
    response.extensions_mut().insert(Did { what: "logout", on: String::new(), who: None });
    Ok(response)
}

/// Choose another password. It ends all other sessions of the user.
#[utoipa::path(put, path = "/api/v1/session/password", request_body = NewPassword, responses((status = 200, body = Session),
    (status = 400, body = ErrorBody, description = "the new password is not one that may be chosen")))]
pub(super) async fn choose_password(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    headers: axum::http::HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let NewPassword { old, new } = read(&headers, &body)?;
    let auth: &Arc<Auth> = &state.auth;
    let (name, secure) = (asked.caller.ok_or_else(ApiError::login)?.user, asked.secure);
    let did = Did { what: "password", on: name.clone(), who: None };
    match auth.choose(&name, &old, &new, asked.source).await {
        Ok((id, user)) => begun(auth, secure, &id, &user, did),
        Err(error) => Ok(failed(error, did)),
    }
}
