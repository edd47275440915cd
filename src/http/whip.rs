//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): maps HTTP to requests of the hub and back. Who may publish and watch
//! is decided there.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use redred_signaling::api::{self, ResourceKind};
use redred_signaling::grants::Caller;
use redred_signaling::id::StreamName;

use super::{App, Problem, Shared, body, guard};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `POST /whip/{stream}`.
pub(super) async fn publish(
    State(app): State<Shared>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let post = Post::read(&app, stream, request).await?;
    let ask = api::Request::WhipPublish {
        stream: post.stream,
        offer: post.offer,
    };
    let reply = app.realtime.request(post.caller, ask).await?;
    created(&app, ResourceKind::Whip, reply)
}

/// `POST /whep/{stream}`, which with `Prefer: wait=N` (RFC 7240) waits for a stream that is not live yet.
pub(super) async fn watch(
    State(app): State<Shared>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = preferred_wait(request.headers());
    let post = Post::read(&app, stream, request).await?;
    let ask = api::Request::WhepWatch {
        stream: post.stream,
        offer: post.offer,
        wait,
    };
    let reply = app.realtime.request(post.caller, ask).await?;
    let mut response = created(&app, ResourceKind::Whep, reply)?;
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs()));
        let applied = applied.expect("digits");
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// `PATCH /whip/resource/{id}`.
pub(super) async fn patch_publish(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    patch(&app, ResourceKind::Whip, id, request).await
}

/// `PATCH /whep/resource/{id}`.
pub(super) async fn patch_watch(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    patch(&app, ResourceKind::Whep, id, request).await
}

/// `DELETE /whip/resource/{id}`.
pub(super) async fn end_publish(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::caller(&app, request.headers(), request.uri())?;
    end(&app, caller, ResourceKind::Whip, id).await
}

/// `DELETE /whep/resource/{id}`.
pub(super) async fn end_watch(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::caller(&app, request.headers(), request.uri())?;
    end(&app, caller, ResourceKind::Whep, id).await
}

/// `OPTIONS` of an endpoint; the CORS layer adds what browsers want.
pub(super) async fn endpoint_options() -> Response {
    (
        StatusCode::NO_CONTENT,
        [(ACCEPT_POST, SDP), (header::ALLOW, "POST, OPTIONS")],
    )
        .into_response()
}

/// `OPTIONS` of a resource.
pub(super) async fn resource_options() -> Response {
    (
        StatusCode::NO_CONTENT,
        [
            (ACCEPT_PATCH, FRAGMENT),
            (header::ALLOW, "PATCH, DELETE, OPTIONS"),
        ],
    )
        .into_response()
}

/// A POST to an endpoint, checked as far as HTTP goes.
struct Post {
    caller: Caller,
    stream: StreamName,
    offer: String,
}

impl Post {
    async fn read(app: &App, stream: String, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = guard::caller(app, &parts.headers, &parts.uri)?;
        let stream = StreamName::new(stream);
        let stream = stream.map_err(|error| Problem::not_found(error.to_string()))?;
        body::require_type(&parts.headers, SDP)
            .map_err(|problem| problem.with_header(ACCEPT_POST, HeaderValue::from_static(SDP)))?;
        if app.shutdown.is_draining() {
            return Err(Problem::draining());
        }
        let offer = body::text(app, body).await?;
        Ok(Self {
            caller,
            stream,
            offer,
        })
    }
}

async fn patch(
    app: &App,
    kind: ResourceKind,
    resource: String,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::caller(app, &parts.headers, &parts.uri)?;
    body::require_type(&parts.headers, FRAGMENT)
        .map_err(|problem| problem.with_header(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT)))?;
    let ask = api::Request::Patch {
        resource,
        kind,
        if_match: if_match(&parts.headers),
        fragment: body::text(app, body).await?,
    };
    let reply = app.realtime.request(caller, ask).await?;
    let api::Reply::Patched {
        fragment: Some(fragment),
        etag,
    } = reply
    else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT)),
        (header::ETAG, quoted(&etag)),
    ];
    Ok((headers, fragment).into_response())
}

async fn end(
    app: &App,
    caller: Caller,
    kind: ResourceKind,
    resource: String,
) -> Result<Response, Problem> {
    let ask = api::Request::Delete { resource, kind };
    app.realtime.request(caller, ask).await?;
    Ok((StatusCode::OK, Body::empty()).into_response())
}

fn created(app: &App, kind: ResourceKind, reply: api::Reply) -> Result<Response, Problem> {
    let api::Reply::Created {
        resource,
        answer,
        etag,
    } = reply
    else {
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the hub gave an answer of another kind",
        ));
    };
    let endpoint = match kind {
        ResourceKind::Whip => "whip",
        ResourceKind::Whep => "whep",
    };
    let location = format!("/{endpoint}/resource/{resource}");
    let location = HeaderValue::from_str(&location).expect("hexadecimal digits");
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::LOCATION, location);
    headers.insert(header::ETAG, quoted(&etag));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for url in &app.config.sfu.ice_servers {
        let link = HeaderValue::from_str(&format!("<{url}>; rel=\"ice-server\""));
        headers.append(
            header::LINK,
            link.expect("visible ASCII, as the configuration checked"),
        );
    }
    Ok(response)
}

/// The entity tag a PATCH is meant for. One client sends its copy of the tag as `ETag` instead of `If-Match`.
fn if_match(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::IF_MATCH).or(headers.get(header::ETAG));
    value?.to_str().ok().map(str::to_owned)
}

/// Whole seconds of `Prefer: wait=N` (RFC 7240 section 4.3). A preference that cannot be read is passed over, as the
/// RFC asks.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let lists = headers.get_all(PREFER).iter();
    let preferences = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split([',', ';']));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then_some(value)
    });
    let seconds = waits.next()?.trim().trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn quoted(etag: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{etag}\"")).expect("the hub's tags are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_found_among_preferences() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, value.parse().expect("a header value"));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, Wait = \"10\""), Some(10));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("wait=-1"), None);
        assert_eq!(wait("return=minimal"), None);
    }
}
