//! Health, metrics and the OpenAPI document.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pattoo_wire::{DeviceStatus, LinkStatus, Status};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::params::{Nothing, Strict};
use super::{ApiError, ApiState};
use crate::live::{Clients, Counters, GatewayLive};
use crate::store::Elsewhere;
use crate::store::retention::Class;

/// One value of the metrics page.
struct Figure {
    /// One ending in `_total` is a counter, any other a gauge.
    name: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// Answered requests by route and status. Routes and statuses are few, so this stays small.
#[derive(Default)]
pub(super) struct Traffic(Mutex<BTreeMap<(String, u16), u64>>);

impl Traffic {
    fn count(&self, route: &str, status: u16) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((route.to_owned(), status)).or_default() += 1;
    }

    fn figures(&self) -> Vec<Figure> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figure = |((route, status), n): (&(String, u16), &u64)| Figure {
            name: "pattoo_http_requests_total",
            help: "Answered API requests",
            labels: vec![("route", route.clone()), ("status", status.to_string())],
            value: *n as f64,
        };
        counts.iter().map(figure).collect()
    }
}

/// Counts the requests of the routes it is laid around.
pub(super) async fn count_known(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(String::new, |p| p.as_str().to_owned());
    let answer = next.run(request).await;
    let response = if answer.status() == StatusCode::METHOD_NOT_ALLOWED { ApiError::method().into_response() } else { answer };
    state.traffic.count(&route, response.status().as_u16());
    response
}

/// That the server is there.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: &'static str,
    /// Version of the server.
    version: &'static str,
}

const ALIVE: Alive = Alive { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// The process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Alive),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn healthz(Strict(Nothing {}): Strict<Nothing>) -> Json<Alive> {
    Json(ALIVE)
}

/// The store answers and readings are being taken in.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Alive),
    (status = 400, body = ErrorBody, description = "a parameter is not known"),
    (status = 503, body = ErrorBody, description = "not ready, and why")))]
pub(super) async fn readyz(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Result<Json<Alive>, ApiError> {
    if !state.live.subscribed() {
        return Err(ApiError::unavailable("ingest is not subscribed at the broker; no readings come in"));
    }
    if !state.live.storing() {
        return Err(ApiError::unavailable("the store did not take the latest readings; see the log"));
    }
    state.ask(|store| store.bytes()).await?;
    Ok(Json(ALIVE))
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1"),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn openapi(Extension(document): Extension<Arc<str>>, Strict(Nothing {}): Strict<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain; version=0.0.4"),
    (status = 400, body = ErrorBody, description = "a parameter is not known")))]
pub(super) async fn metrics(State(state): State<ApiState>, Strict(Nothing {}): Strict<Nothing>) -> Response {
    let mut figures =
        vec![plain("pattoo_ingest_ready", "Whether readings come in and are stored", f64::from(u8::from(state.live.ready())))];
    // The rest of the page must not go with the store.
    let bytes = state.ask(|store| store.bytes()).await;
    figures.push(plain("pattoo_store_up", "Whether the store answers", f64::from(u8::from(bytes.is_ok()))));
    if let Ok(bytes) = bytes {
        figures.push(plain("pattoo_store_bytes", "Bytes of the store on disk", bytes as f64));
    }
    if let Ok(classes) = state.ask(|store| Ok(store.classes())).await {
        figures.extend(classes.iter().flat_map(of_class));
    }
    if let Ok(Some(elsewhere)) = state.ask(|store| Ok(store.elsewhere())).await {
        figures.extend(of_elsewhere(elsewhere));
    }
    figures.push(plain("pattoo_series", "Series known", state.live.series_count() as f64));
    let replaced = state.live.replaced_readings();
    let help = "Readings that took the place of another value of the same series and time";
    figures.push(plain("pattoo_replaced_readings_total", help, replaced as f64));
    figures.extend(rejects("", &state.live.strangers()));
    figures.extend(of_clients(&state.live.clients()));
    figures.extend(state.live.certificates().into_iter().map(|(file, ends_ms)| Figure {
        name: "pattoo_certificate_end_seconds",
        help: "Unix time when the server's certificate in this file ends",
        labels: vec![("file", file)],
        value: ends_ms as f64 / 1000.0,
    }));
    for gateway in state.live.gateways() {
        figures.extend(of_gateway(&gateway));
    }
    figures.extend(state.traffic.figures());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&figures)).into_response()
}

fn plain(name: &'static str, help: &'static str, value: f64) -> Figure {
    Figure { name, help, labels: Vec::new(), value }
}

/// Readings, or rollups of one step.
fn of_class(class: &Class) -> Vec<Figure> {
    let figure = |name, help, value| Figure { name, help, labels: vec![("class", class.name.to_owned())], value };
    let begins = class.from_ms.map(|ms| figure("pattoo_store_class_begins_seconds", "Unix time of its first day", ms as f64 / 1000.0));
    let mut figures = vec![
        figure("pattoo_store_class_bytes", "Bytes of readings in parts, and of rollups by their step", class.bytes as f64),
        figure(
            "pattoo_store_dropped_days_total",
            "Days deleted before their age because of retention: max_bytes",
            class.forced_days as f64,
        ),
    ];
    figures.extend(begins);
    figures
}

/// What VictoriaMetrics has, and what it lacks yet.
fn of_elsewhere(elsewhere: Elsewhere) -> [Figure; 4] {
    let lacks = "Days of which VictoriaMetrics may lack readings: compared as soon as it answers";
    [
        plain("pattoo_store_victoria_up", "Whether VictoriaMetrics answers and takes readings", f64::from(u8::from(elsewhere.up))),
        plain("pattoo_store_unsent_readings", "Readings that are sent to VictoriaMetrics next", elsewhere.unsent_readings as f64),
        plain("pattoo_store_unsent_days", lacks, elsewhere.unsent_days as f64),
        plain("pattoo_store_max_bytes", "Bytes of the store on disk above which readings are refused", elsewhere.max_bytes as f64),
    ]
}

fn rejects(gateway: &str, counters: &Counters) -> Vec<Figure> {
    let figure = |(reason, n): (&&'static str, &u64)| Figure {
        name: "pattoo_rejects_total",
        help: "Messages that were refused; no gateway where it is not known",
        labels: vec![("gateway", gateway.to_owned()), ("reason", (*reason).to_owned())],
        value: *n as f64,
    };
    counters.rejects.iter().map(figure).collect()
}

fn of_clients(clients: &Clients) -> Vec<Figure> {
    let connected = |kind: &str, n: usize| Figure {
        name: "pattoo_broker_clients",
        help: "Connections of the embedded broker: gateways with an account, programs of this machine without, not admitted yet",
        labels: vec![("kind", kind.to_owned())],
        value: n as f64,
    };
    let refused = |((reason, account), n): (&(&'static str, String), &u64)| Figure {
        name: "pattoo_broker_refusals_total",
        help: "What the embedded broker refused or ended; no account where it is not known",
        labels: vec![("reason", (*reason).to_owned()), ("account", account.clone())],
        value: *n as f64,
    };
    let mut figures =
        vec![connected("gateway", clients.gateways), connected("local", clients.local), connected("waiting", clients.waiting)];
    figures.extend(clients.refusals.iter().map(refused));
    figures
}

fn of_gateway(gateway: &GatewayLive) -> Vec<Figure> {
    let figure = |name, help, value| Figure { name, help, labels: vec![("gateway", gateway.name.clone())], value };
    let mut figures = vec![
        figure("pattoo_gateway_batches_total", "Batches taken from a gateway", gateway.counters.batches as f64),
        figure("pattoo_gateway_readings_total", "Readings taken from a gateway", gateway.counters.readings as f64),
        figure("pattoo_gateway_replays_total", "Batches that had come before", gateway.counters.replays as f64),
    ];
    figures.push(figure(
        "pattoo_gateway_changed_batches_total",
        "Batches under whose number another one had come",
        gateway.counters.changed as f64,
    ));
    figures.extend(rejects(&gateway.name, &gateway.counters));
    if let Some(ms) = gateway.last_seen_ms {
        figures.push(figure("pattoo_gateway_last_seen_seconds", "Unix time of the newest message", ms as f64 / 1000.0));
    }
    if let Some(clock) = gateway.clock {
        let help = "The server's time less the gateway's, as of its latest hello";
        figures.push(figure("pattoo_gateway_clock_offset_seconds", help, clock.offset_ms as f64 / 1000.0));
    }
    if let Some(status) = &gateway.status {
        figures.push(figure("pattoo_gateway_up", "Whether the gateway is connected", f64::from(u8::from(status.online))));
        figures.push(figure("pattoo_gateway_buffer_batches", "Batches waiting in its buffer", status.buffer_batches as f64));
        figures.push(figure("pattoo_gateway_buffer_bytes", "Bytes of those batches", status.buffer_bytes as f64));
        figures.push(figure("pattoo_gateway_dropped_readings", "Readings it had to drop", status.dropped_readings as f64));
        if let Some(bytes) = status.written_bytes {
            figures.push(figure("pattoo_gateway_written_bytes", "Bytes it wrote to storage since it started", bytes as f64));
        }
        figures.extend(warnings(&gateway.name, status));
        status.links.iter().for_each(|(link, status)| figures.extend(of_link(&gateway.name, link, status)));
        status.devices.iter().for_each(|(device, status)| figures.extend(of_device(&gateway.name, device, status)));
    }
    figures
}

/// How much is going to be trouble: 0 is worth telling, for an alarm that must know that all is well.
fn warnings(gateway: &str, status: &Status) -> Vec<Figure> {
    let figure = |about: &&str| Figure {
        name: "pattoo_gateway_warnings",
        help: "Warnings of the gateway before trouble: of its disk and buffer, its clock, its certificates",
        labels: vec![("gateway", gateway.to_owned()), ("about", (*about).to_owned())],
        value: status.warnings.iter().filter(|warning| warning.about == **about).count() as f64,
    };
    ["disk", "clock", "certificate"].iter().map(figure).collect()
}

/// How busy a link is.
fn of_link(gateway: &str, link: &str, status: &LinkStatus) -> Vec<Figure> {
    let labels = || vec![("gateway", gateway.to_owned()), ("link", link.to_owned())];
    let figure = |name, help, value| Figure { name, help, labels: labels(), value };
    let late = |(quantile, ms): (&str, u64)| Figure {
        name: "pattoo_link_late_seconds",
        help: "How late this share of its latest polls began at most",
        labels: [labels(), vec![("quantile", quantile.to_owned())]].concat(),
        value: ms as f64 / 1000.0,
    };
    let mut figures = vec![
        figure("pattoo_link_polls_total", "Polls since the gateway started", status.polls as f64),
        figure("pattoo_link_skipped_polls_total", "Polls that came due and were missed because the link was busy", status.skipped as f64),
    ];
    figures.extend(status.late.iter().flat_map(|l| [("0.5", l.p50_ms), ("0.95", l.p95_ms), ("0.99", l.p99_ms)]).map(late));
    figures
}

/// How a device does on its link.
fn of_device(gateway: &str, device: &str, status: &DeviceStatus) -> Vec<Figure> {
    let labels = || vec![("gateway", gateway.to_owned()), ("device", device.to_owned())];
    let figure = |name, help, value| Figure { name, help, labels: labels(), value };
    let seconds = |name, help, ms: Option<u64>| ms.map(|ms| figure(name, help, ms as f64 / 1000.0));
    let mut figures = vec![
        figure("pattoo_device_polls_total", "Polls since the gateway started", status.polls as f64),
        figure("pattoo_device_failed_polls_total", "Polls that gave nothing good", status.failures as f64),
        figure("pattoo_device_skipped_polls_total", "Polls that came due and were missed because the link was busy", status.skipped as f64),
    ];
    let late = status.late.map(|late| late.p99_ms);
    figures.extend(seconds("pattoo_device_late_p99_seconds", "How late 99 of 100 of its latest polls began at most", late));
    let help = "What 99 of 100 of its latest answers took at most";
    figures.extend(seconds("pattoo_device_latency_p99_seconds", help, status.latency_p99_ms));
    figures.extend(seconds("pattoo_device_timeout_seconds", "How long it is waited for at present", status.timeout_ms));
    figures.extend(status.misses.iter().map(|(what, count)| Figure {
        name: "pattoo_device_misses_total",
        help: "What went wrong on the way to the device, made good by asking again or not",
        labels: [labels(), vec![("what", what.clone())]].concat(),
        value: *count as f64,
    }));
    figures
}

/// The text format wants all values of a name in one block below its help and type.
fn exposition(figures: &[Figure]) -> String {
    let mut blocks: BTreeMap<&str, Vec<&Figure>> = BTreeMap::new();
    for figure in figures {
        blocks.entry(figure.name).or_default().push(figure);
    }
    let mut text = String::new();
    for (name, block) in blocks {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let help = block.first().map_or("", |f| f.help);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for figure in block {
            let labels: Vec<String> = figure.labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{labels} {}", figure.value);
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_name_stand_together_and_labels_cannot_break_out() {
        let figure = |name, labels, value| Figure { name, help: "h", labels, value };
        let figures = [
            figure("b_total", vec![("r", "a\"} 1\nx 2 \\".into())], 3.0),
            figure("a", vec![], 0.5),
            figure("b_total", vec![("r", "z".into()), ("s", "y".into())], 9_007_199_254_740_992.0),
        ];
        let expected = "# HELP a h\n# TYPE a gauge\na 0.5\n# HELP b_total h\n# TYPE b_total counter\n\
                        b_total{r=\"a\\\"} 1\\nx 2 \\\\\"} 3\nb_total{r=\"z\",s=\"y\"} 9007199254740992\n";
        assert_eq!(exposition(&figures), expected);
    }
}
