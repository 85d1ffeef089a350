//! Errors as the API tells them: a status, a code for programs, a sentence for people.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
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
}

impl ApiError {
    /// The request says something that cannot be meant.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into() }
    }

    /// The request asks for more than one answer may hold.
    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "too_much", message: message.into() }
    }

    /// What was asked for is not there.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into() }
    }

    /// This path answers no such method.
    pub(crate) fn method() -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message: "only GET and HEAD are answered here".into() }
    }

    /// The server cannot do its work now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "unavailable", message: message.into() }
    }

    pub(crate) fn store(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        let message = format!("no answer within {} s; ask for a shorter range or fewer series", limit.as_secs());
        Self { status: StatusCode::GATEWAY_TIMEOUT, code: "too_slow", message }
    }

    pub(crate) fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = self.code, "{}", self.message);
        }
        (self.status, Json(ErrorBody { error: ErrorDetail { code: self.code, message: self.message } })).into_response()
    }
}
