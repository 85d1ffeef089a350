//! Lists that did not change are not sent again: a client that names the tag of what it has is answered 304.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiError;

/// Lists that are asked for again and again.
const LISTS: [&str; 5] = ["/api/v1/gateways", "/api/v1/devices", "/api/v1/series", "/api/v1/dashboards", "/api/v1/site"];
/// Largest list, in bytes: some 250 for each of 100,000 devices.
const MAX_LIST_BYTES: usize = 32 << 20;

/// Tags lists by their content. The tag is a weak one: packed or not, it is the same list.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if request.method() != Method::GET || !LISTS.contains(&path) {
        return next.run(request).await;
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_LIST_BYTES).await else {
        return ApiError::too_much("the list is too long for one answer; ask for a part of it").into_response();
    };
    let tag = format!("W/\"{:08x}-{}\"", crc32fast::hash(&bytes), bytes.len());
    let same = known.is_some_and(|known| known.to_str().is_ok_and(|known| known.split(',').any(|one| one.trim() == tag)));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
