//! The web app and the SDK, embedded in the binary.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::Problem;

/// Pages, styles and scripts of the app.
#[derive(RustEmbed)]
#[folder = "web/app"]
#[allow_missing = true]
struct App;

/// The SDK's modules.
#[derive(RustEmbed)]
#[folder = "web/sdk"]
#[allow_missing = true]
struct Sdk;

/// Scripts, styles and connections of this server only; previews and posters may be made in the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    media-src 'self' blob: mediastream:; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'self'";

/// What the studio needs; nothing else may be asked for.
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), \
    autoplay=(self), picture-in-picture=(self), screen-wake-lock=(self), geolocation=(), payment=(), usb=()";

/// Names do not change with their contents, so a browser asks each time and mostly hears 304.
const CACHE_CONTROL: &str = "no-cache";

/// What the pages have in common: `<!-- part NAME -->` in a page stands for `parts/NAME.html`.
const PARTS: &[&str] = &["head", "bar"];

pub(super) async fn home(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

pub(super) async fn studio(headers: HeaderMap) -> Response {
    page("studio.html", &headers)
}

pub(super) async fn watch(headers: HeaderMap) -> Response {
    page("watch.html", &headers)
}

pub(super) async fn inbox(headers: HeaderMap) -> Response {
    page("inbox.html", &headers)
}

pub(super) async fn social(headers: HeaderMap) -> Response {
    page("social.html", &headers)
}

pub(super) async fn favicon(headers: HeaderMap) -> Response {
    file::<App>("favicon.svg", &headers)
}

pub(super) async fn app(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file::<App>(&path, &headers)
}

pub(super) async fn sdk(Path(path): Path<String>, headers: HeaderMap) -> Response {
    if path.starts_with("test/") {
        return nothing().await;
    }
    file::<Sdk>(&path, &headers)
}

/// Everything that no route knows.
pub(super) async fn nothing() -> Response {
    Problem::not_found("there is nothing at this address").into_response()
}

/// A page with its parts in place.
fn page(path: &str, request: &HeaderMap) -> Response {
    let Some(mut html) = text(path) else {
        return Problem::not_found("there is no such file").into_response();
    };
    for name in PARTS {
        let part = text(&format!("parts/{name}.html")).unwrap_or_default();
        html = html.replace(&format!("<!-- part {name} -->"), part.trim());
    }
    let mut hasher = DefaultHasher::new();
    html.hash(&mut hasher);
    let etag = format!("\"{:016x}\"", hasher.finish());
    respond(html.into(), "text/html", &etag, request)
}

fn text(path: &str) -> Option<String> {
    App::get(path).and_then(|file| String::from_utf8(file.data.into_owned()).ok())
}

fn file<Folder: RustEmbed>(path: &str, request: &HeaderMap) -> Response {
    let Some(file) = Folder::get(path) else {
        return Problem::not_found("there is no such file").into_response();
    };
    let etag = etag(&file);
    let mime = file.metadata.mimetype().to_owned();
    respond(file.data.into_owned().into(), &mime, &etag, request)
}

fn respond(body: Bytes, mime: &str, etag: &str, request: &HeaderMap) -> Response {
    let is_known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == etag || known.trim() == "*");
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(body).into_response()
    };
    let headers = response.headers_mut();
    let mut set = |name, value: &str| {
        let value = HeaderValue::from_str(value).expect("visible ASCII");
        headers.insert(name, value);
    };
    set(header::CONTENT_TYPE, &content_type(mime));
    set(header::ETAG, etag);
    set(header::CACHE_CONTROL, CACHE_CONTROL);
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(
        header::HeaderName::from_static("permissions-policy"),
        PERMISSIONS_POLICY,
    );
    response
}

/// Our text files are UTF-8, which a browser does not guess.
fn content_type(mime: &str) -> String {
    let is_text =
        mime.starts_with("text/") || mime.ends_with("javascript") || mime.ends_with("json");
    if is_text && !mime.contains("charset") {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_owned()
    }
}

fn etag(file: &EmbeddedFile) -> String {
    let mut etag = String::from("\"");
    // Half of SHA-256 is plenty to tell versions of a file apart.
    for byte in &file.metadata.sha256_hash()[..16] {
        write!(etag, "{byte:02x}").expect("a string takes everything");
    }
    etag + "\""
}
