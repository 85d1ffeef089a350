//! Dashboards: listed, shown with the series that they find, saved and changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Asked;
use super::error::ErrorBody;
use super::lists::Series;
use super::params::{Nothing, Strict};
use super::people::Named;
use super::translations::Tongue;
use super::{ApiError, ApiState};
use crate::dashboard::edit::{Change, EditError, edited};
use crate::dashboard::shown::{ShownPanel, shown};
use crate::dashboard::{CounterMode, MAX_VARIABLES, PanelKind, Problem, SCHEMA};
use crate::dashboards::{Expected, File, WriteError};

/// All dashboards.
#[derive(Serialize, ToSchema)]
pub(super) struct DashboardList {
    /// By name.
    dashboards: Vec<DashboardEntry>,
    /// The folder that they are in.
    folder: String,
    /// What is wrong with the folder, or with the name of a file.
    trouble: Option<String>,
}

/// A dashboard, or a file that should be one.
#[derive(Serialize, ToSchema)]
pub(super) struct DashboardEntry {
    /// Name of its file without `.yaml`.
    name: String,
    /// Its title; its name where it cannot be read.
    title: String,
    /// How many panels the file has.
    panels: usize,
    /// What is wrong with it.
    problem: Option<Problem>,
}

impl From<&File> for DashboardEntry {
    fn from(file: &File) -> Self {
        let (title, panels) = file.dashboard.as_ref().map_or((file.name.clone(), 0), |d| (d.title.clone(), d.panels.len()));
        Self { name: file.name.clone(), title, panels, problem: file.dashboard.as_ref().err().cloned() }
    }
}

/// The text of a dashboard.
#[derive(Serialize, ToSchema)]
pub(super) struct DashboardFile {
    /// Name of its file without `.yaml`.
    name: String,
    /// Changes with the text; `If-Match` of a change names it, in quotes, as the header `ETag` has it.
    tag: String,
    /// The text.
    yaml: String,
    /// What is wrong with it.
    problem: Option<Problem>,
    /// Titles of its panels, in order.
    panels: Vec<String>,
}

impl From<&File> for DashboardFile {
    fn from(file: &File) -> Self {
        let panels = file.dashboard.as_ref().map_or(Vec::new(), |d| d.panels.iter().map(|p| p.title.clone()).collect());
        Self {
            name: file.name.clone(),
            tag: file.tag.clone(),
            yaml: file.text.clone(),
            problem: file.dashboard.as_ref().err().cloned(),
            panels,
        }
    }
}

/// The choice of variables.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Choice {
    /// Values by variable as JSON, as in `{"site":"north"}`; an empty value means all, and defaults serve where nothing is said.
    #[param(example = "{}")]
    vars: Option<String>,
}

/// What a dashboard shows.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownDashboard {
    /// Name of its file without `.yaml`.
    name: String,
    /// For people.
    title: String,
    /// Window where the page is not told another one, as in `6h`.
    range: Option<String>,
    /// What may be chosen.
    variables: Vec<VariableValues>,
    /// In order; those that are repeated stand here as often as they do.
    panels: Vec<ShownPanelBody>,
    /// Panels that are one too many.
    left_out: usize,
}

/// A variable with its values.
#[derive(Serialize, ToSchema)]
pub(super) struct VariableValues {
    /// Its name.
    name: String,
    /// What is chosen; empty for all.
    value: String,
    /// What may be chosen; at most 500.
    values: Vec<String>,
}

/// A panel with its series.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownPanelBody {
    /// Its place in the file, from 0.
    place: usize,
    /// Over it; empty for none.
    title: String,
    /// `chart`, `stat`, `state` or `text`.
    #[serde(rename = "type")]
    kind: PanelKind,
    /// Columns of 12 that it takes.
    width: u8,
    /// How a chart draws counters: `rate`, `total`, `hour`, `day` or `month`.
    counter: CounterMode,
    /// Of a text panel.
    text: String,
    /// What it shows: 12 in a chart, 50 otherwise.
    series: Vec<Series>,
    /// Series that are too many.
    left_out: usize,
}

impl ShownPanelBody {
    fn of(shown: ShownPanel<'_>, tongue: &Tongue) -> Self {
        let ShownPanel { place, panel, title, text, series, left_out } = shown;
        let series = series.iter().map(|entry| Series::of(entry, tongue)).collect();
        Self { place, title, kind: panel.kind, width: panel.width, counter: panel.counter, text, series, left_out }
    }
}

/// A change of one panel: exactly one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(super) enum PanelChange {
    /// Adds one at the end: its YAML.
    Add(String),
    /// Takes away the one at this place, from 0.
    Remove(usize),
    /// Gives one another title.
    Rename(NewTitle),
}

/// Another title of a panel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTitle {
    /// Its place, from 0.
    place: usize,
    /// The title.
    title: String,
}

/// Whether to keep what was sent.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Saving {
    /// Only says whether the text is right; nothing is kept.
    check: Option<bool>,
}

/// Dashboards, and what is wrong with those that cannot be read.
#[utoipa::path(get, path = "/api/v1/dashboards", responses(
    (status = 200, body = DashboardList), (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn list(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Json<DashboardList> {
    let (files, trouble) = state.pages.dashboards.all();
    let folder = state.pages.dashboards.folder().display().to_string();
    Json(DashboardList { dashboards: files.iter().map(|file| DashboardEntry::from(file.as_ref())).collect(), folder, trouble })
}

/// The text of a dashboard.
#[utoipa::path(get, path = "/api/v1/dashboards/{name}", params(("name" = String, Path, description = "Name of its file without `.yaml`")), responses(
    (status = 200, body = DashboardFile, headers(("ETag" = String, description = "The tag of the text"))),
    (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 404, body = ErrorBody, description = "there is no such dashboard")))]
pub(super) async fn read(
    State(state): State<ApiState>,
    Named(name): Named,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, ApiError> {
    Ok(tagged(StatusCode::OK, &*file(&state, &name)?))
}

/// What a dashboard shows: its panels with the series that they find.
#[utoipa::path(get, path = "/api/v1/dashboards/{name}/shown", params(("name" = String, Path, description = "Name of its file without `.yaml`"), Choice), responses(
    (status = 200, body = ShownDashboard), (status = 400, body = ErrorBody, description = "a parameter is not known or wrong"),
    (status = 404, body = ErrorBody, description = "there is no such dashboard"),
    (status = 422, body = ErrorBody, description = "its file is wrong, and where")))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Extension(asked): Extension<Asked>,
    Named(name): Named,
    Strict(choice): Strict<Choice>,
) -> Result<Json<ShownDashboard>, ApiError> {
    let file = file(&state, &name)?;
    let choice: BTreeMap<String, String> = match &choice.vars {
        None => BTreeMap::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|e| ApiError::bad(format!("vars: expected values by variable as JSON, as in {{\"site\":\"north\"}}: {e}")))?,
    };
    if choice.len() > MAX_VARIABLES {
        return Err(ApiError::bad(format!("vars: found {} variables, expected at most {MAX_VARIABLES}", choice.len())));
    }
    if let Err(problem) = &file.dashboard {
        return Err(ApiError::wrong(problem.clone(), &format!("{name}.yaml:")));
    }
    let (live, tongue) = (state.live.clone(), Tongue::of(&state, &asked));
    let found = state.ask(move |_| Ok(of(&file, &live.series(None, None), &choice, &tongue))).await?;
    found.map(Json).ok_or_else(|| ApiError::unknown(format!("there is no dashboard {name:?}")))
}

fn of(
    file: &File,
    entries: &[Arc<crate::store::SeriesEntry>],
    choice: &BTreeMap<String, String>,
    tongue: &Tongue,
) -> Option<ShownDashboard> {
    let dashboard = file.dashboard.as_ref().ok()?;
    let shown = shown(dashboard, entries, choice);
    let variables = shown.variables.into_iter();
    Some(ShownDashboard {
        name: file.name.clone(),
        title: dashboard.title.clone(),
        range: dashboard.range.clone(),
        variables: variables
            .map(|v| VariableValues { name: v.variable.name.clone(), value: v.value.unwrap_or_default(), values: v.values })
            .collect(),
        panels: shown.panels.into_iter().map(|panel| ShownPanelBody::of(panel, tongue)).collect(),
        left_out: shown.left_out,
    })
}

/// Saves a text: over the one that `If-Match` names, or with `If-None-Match: *` as a new dashboard.
#[utoipa::path(put, path = "/api/v1/dashboards/{name}", params(("name" = String, Path, description = "Name of its file without `.yaml`"), Saving),
    request_body(content = String, content_type = "application/yaml"), responses(
    (status = 200, body = DashboardFile), (status = 400, body = ErrorBody, description = "a parameter is not known or wrong"),
    (status = 404, body = ErrorBody, description = "there is no such dashboard"),
    (status = 412, body = ErrorBody, description = "it was changed meanwhile"),
    (status = 422, body = ErrorBody, description = "the text is wrong, and where"),
    (status = 428, body = ErrorBody, description = "neither If-Match nor If-None-Match is said"),
    (status = 503, body = ErrorBody, description = "the folder cannot be written")))]
pub(super) async fn save(
    State(state): State<ApiState>,
    Named(name): Named,
    Strict(saving): Strict<Saving>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let text = String::from_utf8(body.into()).map_err(|_| ApiError::bad("the text is not UTF-8"))?;
    if saving.check == Some(true) {
        let problem = crate::dashboard::Dashboard::parse(&text).err();
        let panels = Vec::new();
        return Ok(Json(DashboardFile { name, tag: String::new(), yaml: text, problem, panels }).into_response());
    }
    let expected = expected(&headers)?;
    write(&state, name, text, expected).await
}

/// Changes one panel; all else of the text stays as it is, comments among it.
#[utoipa::path(patch, path = "/api/v1/dashboards/{name}", params(("name" = String, Path, description = "Name of its file without `.yaml`")),
    request_body = PanelChange, responses(
    (status = 200, body = DashboardFile), (status = 400, body = ErrorBody, description = "a parameter or the change is not known"),
    (status = 404, body = ErrorBody, description = "there is no such dashboard or panel"),
    (status = 409, body = ErrorBody, description = "the text is written in a way that this change would spoil"),
    (status = 412, body = ErrorBody, description = "it was changed meanwhile"),
    (status = 422, body = ErrorBody, description = "what was to be added is wrong, and where"),
    (status = 428, body = ErrorBody, description = "If-Match is not said"),
    (status = 503, body = ErrorBody, description = "the folder cannot be written")))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Named(name): Named,
    Strict(Nothing {}): Strict<Nothing>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let expected = expected(&headers)?;
    let change: PanelChange = serde_json::from_slice(&body).map_err(|e| {
        ApiError::bad(format!("expected {{\"add\": yaml}}, {{\"remove\": 0}} or {{\"rename\": {{\"place\": 0, \"title\": \"…\"}}}}: {e}"))
    })?;
    let change = match change {
        PanelChange::Add(block) => Change::Add(block),
        PanelChange::Remove(place) => Change::Remove(place),
        PanelChange::Rename(NewTitle { place, title }) => Change::Rename(place, title),
    };
    // What is changed is the text that the client knows: another one is not written over below.
    let file = file(&state, &name)?;
    if expected != Expected::Tag(file.tag.clone()) {
        return Err(written(WriteError::Changed(name)));
    }
    let text = edited(&file.text, &change).map_err(|e| match e {
        EditError::Wrong(problem) => ApiError::wrong(problem, ""),
        EditError::NoPanel(_) => ApiError::unknown(e.to_string()),
        EditError::Written => ApiError::conflict(e.to_string()),
    })?;
    write(&state, name, text, expected).await
}

/// Deletes a dashboard.
#[utoipa::path(delete, path = "/api/v1/dashboards/{name}", params(("name" = String, Path, description = "Name of its file without `.yaml`")), responses(
    (status = 204, description = "it is gone"), (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 404, body = ErrorBody, description = "there is no such dashboard"),
    (status = 412, body = ErrorBody, description = "it was changed meanwhile"),
    (status = 428, body = ErrorBody, description = "If-Match is not said"),
    (status = 503, body = ErrorBody, description = "the folder cannot be written")))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    Named(name): Named,
    Strict(Nothing {}): Strict<Nothing>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let Expected::Tag(tag) = expected(&headers)? else {
        return Err(ApiError::unsaid("If-Match: \"…\", the tag of what is to be deleted"));
    };
    let dashboards = state.pages.dashboards.clone();
    let deleted = tokio::task::spawn_blocking(move || dashboards.delete(&name, &tag)).await;
    deleted.map_err(|e| ApiError::internal(e.to_string()))?.map_err(written)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The JSON Schema of a dashboard's file, for editors.
#[utoipa::path(get, path = "/api/v1/dashboard.schema.json", responses((status = 200, body = serde_json::Value, description = "JSON Schema 2020-12"),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn schema(Strict(Nothing {}): Strict<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], SCHEMA).into_response()
}

fn file(state: &ApiState, name: &str) -> Result<Arc<File>, ApiError> {
    state.pages.dashboards.get(name).ok_or_else(|| ApiError::unknown(format!("there is no dashboard {name:?}")))
}

async fn write(state: &ApiState, name: String, text: String, expected: Expected) -> Result<Response, ApiError> {
    let dashboards = state.pages.dashboards.clone();
    let file = tokio::task::spawn_blocking(move || dashboards.write(&name, &text, &expected)).await;
    let file = file.map_err(|e| ApiError::internal(e.to_string()))?.map_err(written)?;
    Ok(tagged(StatusCode::OK, &file))
}

fn tagged(status: StatusCode, file: &File) -> Response {
    let mut response = (status, Json(DashboardFile::from(file))).into_response();
    // A tag is made of digits and letters.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", file.tag)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// What the client thinks is there.
fn expected(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    match (of(header::IF_MATCH), of(header::IF_NONE_MATCH)) {
        (Some(tag), None) if tag != "*" => Ok(Expected::Tag(tag.trim_start_matches("W/").trim_matches('"').to_owned())),
        (None, Some("*")) => Ok(Expected::Nothing),
        _ => Err(ApiError::unsaid("If-Match: \"…\", the tag of the text that is changed, or If-None-Match: * for a new one")),
    }
}

fn written(error: WriteError) -> ApiError {
    match error {
        WriteError::Changed(_) => ApiError::changed(error.to_string()),
        WriteError::Missing(_) => ApiError::unknown(error.to_string()),
        WriteError::Name(_) => ApiError::bad(error.to_string()),
        WriteError::Full => ApiError::too_much(error.to_string()),
        WriteError::Wrong(problem) => ApiError::wrong(problem, ""),
        WriteError::Io { .. } => ApiError::unavailable(format!("not saved: {error}")),
    }
}
