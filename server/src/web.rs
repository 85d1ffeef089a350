//! Serves the chart page that the build script made part of this binary. It knows no data: the page asks the API.

use std::io::Read;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use crate::api::ApiError;

/// One file of the page.
struct File {
    /// Path below `/`.
    path: &'static str,
    mime: &'static str,
    /// Checksum of the content, in quotes.
    etag: &'static str,
    gzip: &'static [u8],
}

// The table `FILES`, by path, as build.rs wrote it.
include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// What `/` shows where the page was left out of the build.
const PAGE: &str = "index.html";

/// Answers whatever is no route of the API.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let Some(file) = find(if path.is_empty() { PAGE } else { path }) else {
        return ApiError::unknown(format!("there is nothing at {:?}; the API is described at /api/v1/openapi.json", uri.path()))
            .into_response();
    };
    if !matches!(method, Method::GET | Method::HEAD) {
        return ApiError::method().into_response();
    }
    let lists = |name, wanted: &str| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).any(|v| names(v, wanted));
    let mut answer = HeaderMap::new();
    answer.insert(header::ETAG, HeaderValue::from_static(file.etag));
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.mime));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep(file.path)));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if lists(header::IF_NONE_MATCH, file.etag) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    if lists(header::ACCEPT_ENCODING, "gzip") {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (answer, file.gzip).into_response();
    }
    let mut content = Vec::new();
    match GzDecoder::new(file.gzip).read_to_end(&mut content) {
        Ok(_) => (answer, content).into_response(),
        Err(e) => ApiError::internal(format!("the page in this binary is damaged: {e}")).into_response(),
    }
}

fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// The build puts a hash of the content into the names below `assets/`, so those never change.
fn keep(path: &str) -> &'static str {
    if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

/// Whether a header that lists names has this one, and does not refuse it by `q=0`.
fn names(list: &str, wanted: &str) -> bool {
    list.split(',').any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0);
        let name = name.trim();
        !refused && (name.eq_ignore_ascii_case(wanted) || name.strip_prefix("W/") == Some(wanted) || name == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_name_counts_unless_it_is_refused() {
        for (list, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("", false),
            ("xgzip", false),
        ] {
            assert_eq!(names(list, "gzip"), expected, "{list}");
        }
        assert!(names("W/\"1\", \"2\"", "\"1\""));
    }

    #[tokio::test]
    async fn the_page_is_there_whole_packed_or_plain() {
        let ask = |encoding: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
            serve(Method::GET, Uri::from_static("/"), headers)
        };
        let plain = ask("identity").await;
        assert_eq!(plain.status(), StatusCode::OK);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let plain = axum::body::to_bytes(plain.into_body(), 1 << 20).await.unwrap();
        let packed = ask("gzip").await;
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        let packed = axum::body::to_bytes(packed.into_body(), 1 << 20).await.unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        let text = String::from_utf8(unpacked).unwrap();
        assert!(text.contains("<noscript>") || text.contains("not built in"), "{text}");
    }

    #[tokio::test]
    async fn a_page_that_did_not_change_is_not_sent_again() {
        for file in FILES {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(file.etag));
            let uri = Uri::try_from(format!("/{}", file.path)).unwrap();
            assert_eq!(serve(Method::GET, uri.clone(), headers).await.status(), StatusCode::NOT_MODIFIED);
            let fresh = serve(Method::GET, uri, HeaderMap::new()).await;
            assert_eq!(fresh.headers()[header::CACHE_CONTROL] == "no-cache", !file.path.starts_with("assets/"), "{}", file.path);
        }
    }

    /// The scripts that one needs before it runs: itself, and what it imports without being asked to.
    fn needed(path: &str, all: &mut std::collections::BTreeSet<&'static str>) {
        let file = find(path).unwrap_or_else(|| panic!("{path} is imported, and not there"));
        if !all.insert(file.path) {
            return;
        }
        let mut text = String::new();
        GzDecoder::new(file.gzip).read_to_string(&mut text).unwrap();
        // `from"./x.js"` and `import"./x.js"`, as the build writes them; `import(` is for later.
        for (at, _) in text.match_indices("\"./") {
            let before = text[..at].trim_end();
            if before.ends_with("from") || before.ends_with("import") {
                needed(&format!("assets/{}", text[at + 3..].split('"').next().unwrap_or_default()), all);
            }
        }
    }

    #[test]
    fn the_page_stays_small() {
        /// Scripts and styles of the first load, as they travel.
        const MOST_BYTES: usize = 45_000;
        /// The same of the largest page: with charts.
        const MOST_BYTES_OF_A_PAGE: usize = 68_000;
        /// Of all scripts and styles.
        const MOST_BYTES_IN_ALL: usize = 80_000;
        let Some(page) = find(PAGE).filter(|_| find("favicon.svg").is_some()) else { return };
        let mut html = String::new();
        GzDecoder::new(page.gzip).read_to_string(&mut html).unwrap();
        let code = |file: &&File| file.path.ends_with(".js") || file.path.ends_with(".css");
        let size =
            |paths: &std::collections::BTreeSet<&'static str>| paths.iter().map(|path| find(path).unwrap().gzip.len()).sum::<usize>();
        let mut first = std::collections::BTreeSet::new();
        for file in FILES.iter().filter(code).filter(|file| html.contains(file.path)) {
            if file.path.ends_with(".js") {
                needed(file.path, &mut first);
            }
            first.insert(file.path);
        }
        assert!(first.len() >= 3, "scripts and styles of the first load: {first:?}");
        assert!(size(&first) <= MOST_BYTES, "{} bytes before the first page, at most {MOST_BYTES}: {first:?}", size(&first));
        let parts: Vec<_> = FILES.iter().filter(|file| file.path.ends_with(".js") && !first.contains(file.path)).collect();
        assert!(parts.len() >= 4, "the build makes parts that are loaded later");
        for part in parts {
            let mut all = first.clone();
            needed(part.path, &mut all);
            let bytes = size(&all);
            assert!(bytes <= MOST_BYTES_OF_A_PAGE, "{bytes} bytes with {}, at most {MOST_BYTES_OF_A_PAGE}: {all:?}", part.path);
        }
        let all: usize = FILES.iter().filter(code).map(|file| file.gzip.len()).sum();
        assert!(all <= MOST_BYTES_IN_ALL, "{all} bytes of scripts and styles, at most {MOST_BYTES_IN_ALL}");
    }

    /// The logic of the page has tests of its own; they run on the copy that the build script made.
    #[test]
    fn the_page_logic_passes_its_own_tests() {
        let folder = std::path::Path::new(env!("OUT_DIR")).join("web");
        if find("favicon.svg").is_none() {
            assert_eq!(FILES.len(), 1, "only PATTOO_WEB=off leaves the page out");
            return;
        }
        let compiler = folder.join("node_modules/typescript/bin/tsc");
        let run = |arguments: &[std::ffi::OsString]| {
            let output = std::process::Command::new("node").args(arguments).current_dir(&folder).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        };
        run(&[compiler.into_os_string(), "--noEmit".into(), "false".into(), "--outDir".into(), "built".into()]);
        // What an earlier run compiled may belong to a test that is gone.
        let written = std::fs::read_dir(folder.join("test")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let tests = written.filter_map(|name| Some(format!("built/test/{}.test.js", name.strip_suffix(".test.ts")?).into()));
        let arguments: Vec<_> = std::iter::once("--test".into()).chain(tests).collect();
        assert!(arguments.len() > 1, "there are tests");
        run(&arguments);
    }
}
