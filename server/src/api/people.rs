//! Users and the audit log, for admins; everybody's own tokens.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Asked, Did};
use super::error::ErrorBody;
use super::params::{Nothing, Strict};
use super::session::read;
use super::{ApiError, ApiState};
use crate::auth;
use crate::clock::now_ms;
use crate::users::audit::Entry;
use crate::users::{Role, Token, UsersError};

/// Most entries of one answer.
const MAX_ENTRIES: usize = 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

impl ApiError {
    pub(super) fn of_users(error: &UsersError) -> Self {
        match error {
            UsersError::Unknown(_) | UsersError::UnknownToken(_) => Self::unknown(error.to_string()),
            UsersError::Exists(_) | UsersError::LastAdmin(_) | UsersError::Full | UsersError::TooManyTokens(_) => {
                Self::conflict(error.to_string())
            }
            _ => Self::bad(error.to_string()),
        }
    }
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    /// Name.
    name: String,
    /// What the user may.
    role: Role,
    /// Whether the user is let in no more.
    disabled: bool,
    /// Whether a password was chosen.
    has_password: bool,
    /// When it was made, ms since 1970.
    created: Option<i64>,
    /// Sessions that are open.
    sessions: usize,
    /// Tokens that there are.
    tokens: usize,
}

/// All users.
#[derive(Serialize, ToSchema)]
pub(super) struct UserList {
    /// By name.
    users: Vec<User>,
}

/// A user to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// Name: letters, digits, `.`, `_`, `-` and `:`.
    name: String,
    /// What the user may.
    role: Role,
}

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    /// What the user may.
    role: Option<Role>,
    /// Whether the user is let in no more; all sessions end.
    disabled: Option<bool>,
}

/// A link that lets a user in once, to choose a password. It is told once.
#[derive(Serialize, ToSchema)]
pub(super) struct Invitation {
    /// Whom it lets in.
    user: String,
    /// Behind the address of the page: `#link=…`.
    link: String,
    /// Until when, ms since 1970.
    expires: i64,
}

/// A token, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenInfo {
    /// Names it.
    id: String,
    /// What it is for.
    name: String,
    /// The most that it may.
    role: Role,
    /// When it was made, ms since 1970.
    created: Option<i64>,
    /// Until when it is good, ms since 1970; null: for ever.
    expires: Option<i64>,
}

/// My tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenList {
    /// In no order.
    tokens: Vec<TokenInfo>,
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// The most that it may; at most the user's own role.
    role: Role,
    /// For how many days it is good; absent: for ever.
    #[schema(minimum = 1, maximum = 36500)]
    days: Option<u32>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// The token; it is told once.
    token: String,
    /// What it is.
    #[serde(flatten)]
    info: TokenInfo,
}

/// What the audit log says.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditLog {
    /// Newest first.
    entries: Vec<Entry>,
}

/// Which part of the audit log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only entries from before this time, ms since 1970.
    before: Option<i64>,
    /// At most so many, up to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl TokenInfo {
    fn of(token: &Token) -> Self {
        Self { id: token.id.clone(), name: token.label.clone(), role: token.role, created: token.created, expires: token.expires }
    }
}

fn did(mut response: Response, what: &'static str, on: String) -> Response {
    response.extensions_mut().insert(Did { what, on, who: None });
    response
}

/// All users.
#[utoipa::path(get, path = "/api/v1/users", responses((status = 200, body = UserList),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn users(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Json<UserList> {
    let users = state.auth.users();
    let shown = users.iter().map(|user| User {
        name: user.name.clone(),
        role: user.role,
        disabled: user.disabled,
        has_password: user.argon2.is_some(),
        created: user.created,
        sessions: state.auth.sessions_of(&user.name),
        tokens: users.tokens_of(&user.name).count(),
    });
    Json(UserList { users: shown.collect() })
}

/// Add a user; a link lets it in once, to choose a password.
#[utoipa::path(post, path = "/api/v1/users", request_body = NewUser, responses((status = 201, body = Invitation),
    (status = 400, body = ErrorBody, description = "no user can be called that"),
    (status = 409, body = ErrorBody, description = "there is one, or no room")))]
pub(super) async fn add_user(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let NewUser { name, role } = read(&headers, &body)?;
    let (link, user) = (auth::secret().map_err(ApiError::internal)?, name.clone());
    let told = link.clone();
    let added = state.auth.change(move |users| {
        users.add(&name, role, now_ms())?;
        users.set_link(&name, &told, true, now_ms())
    });
    let expires = added.await.map_err(ApiError::of_login)?;
    let on = format!("{user} as {}", role.name());
    Ok(did((StatusCode::CREATED, Json(Invitation { user, link, expires })).into_response(), "user add", on))
}

/// Change what a user may, or whether at all.
#[utoipa::path(patch, path = "/api/v1/users/{name}", params(("name" = String, Path, description = "Name of the user")),
    request_body = UserChange, responses((status = 204, description = "changed"),
    (status = 400, body = ErrorBody, description = "the body is not as it should be"),
    (status = 404, body = ErrorBody, description = "there is no such user"),
    (status = 409, body = ErrorBody, description = "no admin would be left")))]
pub(super) async fn change_user(
    State(state): State<ApiState>,
    name: Named,
    headers: HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let name = name.0;
    let UserChange { role, disabled } = read(&headers, &body)?;
    let on = format!(
        "{name}{}{}",
        role.map_or_else(String::new, |role| format!(" as {}", role.name())),
        disabled.map_or("", |disabled| if disabled { " disabled" } else { " enabled" })
    );
    state.auth.change(move |users| users.set(&name, role, disabled)).await.map_err(ApiError::of_login)?;
    Ok(did(StatusCode::NO_CONTENT.into_response(), "user change", on))
}

/// End a user's password and sessions; a link lets it in once, to choose another one.
#[utoipa::path(post, path = "/api/v1/users/{name}/link", params(("name" = String, Path, description = "Name of the user")),
    responses((status = 201, body = Invitation),
    (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 404, body = ErrorBody, description = "there is no such user"),
    (status = 409, body = ErrorBody, description = "it is disabled")))]
pub(super) async fn reset_user(
    State(state): State<ApiState>,
    name: Named,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, ApiError> {
    let (link, user) = (auth::secret().map_err(ApiError::internal)?, name.0);
    if state.auth.users().get(&user).map_err(|e| ApiError::of_users(&e))?.disabled {
        return Err(ApiError::conflict(format!("{user} is disabled; enable it first")));
    }
    let (name, told) = (user.clone(), link.clone());
    let expires = state.auth.change(move |users| users.set_link(&name, &told, true, now_ms())).await.map_err(ApiError::of_login)?;
    Ok(did((StatusCode::CREATED, Json(Invitation { user: user.clone(), link, expires })).into_response(), "user link", user))
}

/// My tokens.
#[utoipa::path(get, path = "/api/v1/tokens", responses((status = 200, body = TokenList),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn tokens(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Json<TokenList>, ApiError> {
    let me = asked.caller.ok_or_else(ApiError::login)?.user;
    Ok(Json(TokenList { tokens: state.auth.users().tokens_of(&me).map(TokenInfo::of).collect() }))
}

/// Make a token of mine. It is told once.
#[utoipa::path(post, path = "/api/v1/tokens", request_body = NewToken, responses((status = 201, body = MadeToken),
    (status = 400, body = ErrorBody, description = "no such token can be made"),
    (status = 409, body = ErrorBody, description = "there are too many")))]
pub(super) async fn add_token(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    Strict(Nothing {}): Strict<Nothing>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let NewToken { name, role, days } = read(&headers, &body)?;
    let caller = asked.caller.filter(|caller| !caller.must_choose).ok_or_else(ApiError::login)?;
    if days.is_some_and(|days| !(1..=36500).contains(&days)) {
        return Err(ApiError::bad(format!("days: found {}, expected 1 to 36500", days.unwrap_or(0))));
    }
    let token = auth::token().map_err(ApiError::internal)?;
    let told = token.clone();
    let expires = days.map(|days| now_ms() + i64::from(days) * DAY_MS);
    let made = state.auth.change(move |users| users.add_token(&caller.user, (&name, role), &told, expires, now_ms()));
    let made = made.await.map_err(ApiError::of_login)?;
    let on = format!("{} as {}", made.id, role.name());
    Ok(did((StatusCode::CREATED, Json(MadeToken { token, info: TokenInfo::of(&made) })).into_response(), "token add", on))
}

/// Revoke a token of mine.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", params(("id" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "revoked"),
    (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 404, body = ErrorBody, description = "there is no such token of mine")))]
pub(super) async fn revoke_token(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    id: Named,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, ApiError> {
    let (id, me) = (id.0, asked.caller.ok_or_else(ApiError::login)?.user);
    let on = id.clone();
    state.auth.change(move |users| users.revoke_token(&id, Some(&me))).await.map_err(ApiError::of_login)?;
    Ok(did(StatusCode::NO_CONTENT.into_response(), "token revoke", on))
}

/// Who did what, when and from where.
#[utoipa::path(get, path = "/api/v1/audit", params(AuditQuery), responses((status = 200, body = AuditLog),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn audit(State(state): State<ApiState>, Strict(query): Strict<AuditQuery>) -> Result<Json<AuditLog>, ApiError> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_ENTRIES).contains(&limit) {
        return Err(ApiError::bad(format!("limit: found {limit}, expected 1 to {MAX_ENTRIES}")));
    }
    let found = state.auth.recorded(query.before.unwrap_or(i64::MAX), limit).await;
    Ok(Json(AuditLog { entries: found.map_err(|e| ApiError::unavailable(e.to_string()))? }))
}

/// The one part of the path that names something.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|e| ApiError::bad(e.body_text()))
    }
}
