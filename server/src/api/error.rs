//! Errors as the API tells them: a status, a code for programs, a sentence for people.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::dashboard::Problem;
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
    /// Where in the text that was sent, or that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Problem>,
}

/// A request that could not be answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// When it may be asked again.
    retry_s: Option<u64>,
    at: Option<Problem>,
}

impl ApiError {
    const fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message, retry_s: None, at: None }
    }

    /// The request says something that cannot be meant.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message.into())
    }

    /// The request asks for more than one answer may hold.
    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "too_much", message.into())
    }

    /// What was asked for is not there.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message.into())
    }

    /// This path answers no such method.
    pub(crate) fn method() -> Self {
        let message = "this path does not answer that method; /api/v1/openapi.json says what it does";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message.into())
    }

    /// Nobody has logged in.
    pub(crate) fn login() -> Self {
        Self::unauthorized("log in first, or send `Authorization: Bearer …` with a token of yours")
    }

    /// Whoever asks is nobody that is known.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message.into())
    }

    /// Whoever asks may not.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message.into())
    }

    /// It does not fit to what there is.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message.into())
    }

    /// A text is wrong; `file` stands before the place.
    pub(crate) fn wrong(problem: Problem, file: &str) -> Self {
        let message = format!("{file}{problem}");
        Self { at: Some(problem), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong", message) }
    }

    /// What is to be changed is no longer what the client knows.
    pub(crate) fn changed(message: String) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "changed", message)
    }

    /// The client did not say what it thinks is there.
    pub(crate) fn unsaid(header: &str) -> Self {
        Self::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", format!("expected {header}"))
    }

    /// Asked too often; good again after so many seconds.
    pub(crate) fn too_often(retry_s: u64, message: impl Into<String>) -> Self {
        Self { retry_s: Some(retry_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message.into()) }
    }

    /// The server cannot do its work now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message.into())
    }

    pub(crate) fn store(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        let message = format!("no answer within {} s; ask for a shorter range or fewer series", limit.as_secs());
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message)
    }

    pub(crate) fn internal(message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = self.code, "{}", self.message);
        }
        let mut response =
            (self.status, Json(ErrorBody { error: ErrorDetail { code: self.code, message: self.message, at: self.at } })).into_response();
        if let Some(seconds) = self.retry_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
