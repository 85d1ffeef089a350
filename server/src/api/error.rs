//! Errors as the API tells them: a status, a code for programs, a sentence for people.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// For programs; never changes its meaning.
    code: &'static str,
    /// For people: what was found and what to do.
    message: String,
}

/// A request that could not be answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// When it may be asked again.
    retry_s: Option<u64>,
}

impl ApiError {
    /// The request says something that cannot be meant.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into(), retry_s: None }
    }

    /// The request asks for more than one answer may hold.
    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "too_much", message: message.into(), retry_s: None }
    }

    /// What was asked for is not there.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into(), retry_s: None }
    }

    /// This path answers no such method.
    pub(crate) fn method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message: "this path does not answer that method; /api/v1/openapi.json says what it does".into(),
            retry_s: None,
        }
    }

    /// Nobody has logged in.
    pub(crate) fn login() -> Self {
        Self::unauthorized("log in first, or send `Authorization: Bearer …` with a token of yours")
    }

    /// Whoever asks is nobody that is known.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthorized", message: message.into(), retry_s: None }
    }

    /// Whoever asks may not.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code, message: message.into(), retry_s: None }
    }

    /// It does not fit to what there is.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code: "conflict", message: message.into(), retry_s: None }
    }

    /// Asked too often; good again after so many seconds.
    pub(crate) fn too_often(retry_s: u64, message: impl Into<String>) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, code: "too_many_requests", message: message.into(), retry_s: Some(retry_s) }
    }

    /// The server cannot do its work now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "unavailable", message: message.into(), retry_s: None }
    }

    pub(crate) fn store(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        let message = format!("no answer within {} s; ask for a shorter range or fewer series", limit.as_secs());
        Self { status: StatusCode::GATEWAY_TIMEOUT, code: "too_slow", message, retry_s: None }
    }

    pub(crate) fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message, retry_s: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = self.code, "{}", self.message);
        }
        let mut response = (self.status, Json(ErrorBody { error: ErrorDetail { code: self.code, message: self.message } })).into_response();
        if let Some(seconds) = self.retry_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
