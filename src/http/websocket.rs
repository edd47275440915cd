//! The doors of the WebSocket: Origin, token and grants are checked before the upgrade.

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use redred_signaling::grants::Caller;
use redred_signaling::id::{Channel, StreamName};

use super::origin::Verdict;
use super::serve::Peer;
use super::{Problem, Shared, guard};
use crate::metrics::HandshakeFailure;
use crate::realtime::websocket::{self, Admission, UpgradeError};

/// `/ws`: the client subscribes to channels itself.
pub(super) async fn multiplexed(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = admit(&app, &request)?;
    upgrade(&app, peer, request, caller, None)
}

/// `/ws/live/{stream}/`: the connection begins subscribed to the stream.
pub(super) async fn live(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = admit(&app, &request)?;
    let stream = StreamName::new(stream).map_err(|error| Problem::not_found(error.to_string()))?;
    let channel = Channel::Live(stream);
    if !caller.grants.may_subscribe(&channel) {
        app.metrics.handshake_failure(HandshakeFailure::Forbidden);
        return Err(Problem::forbidden("the token does not grant this stream"));
    }
    upgrade(&app, peer, request, caller, Some(channel))
}

/// Who wants to connect, unless a foreign page makes them or their token is bad.
fn admit(app: &Shared, request: &Request) -> Result<Caller, Problem> {
    let fail = |reason| app.metrics.handshake_failure(reason);
    if app.origins.judge(request.headers()) == Verdict::Foreign {
        fail(HandshakeFailure::Origin);
        return Err(Problem::forbidden(
            "pages of this origin may not connect; see http.allowed_origins",
        ));
    }
    let caller = guard::websocket_caller(app, request.headers(), request.uri());
    let caller = caller.map_err(|rejection| {
        fail(HandshakeFailure::Token);
        Problem::unauthorized(rejection.to_string())
    })?;
    if app.shutdown.is_draining() {
        fail(HandshakeFailure::Draining);
        return Err(Problem::draining());
    }
    Ok(caller)
}

fn upgrade(
    app: &Shared,
    peer: Peer,
    request: Request,
    caller: Caller,
    channel: Option<Channel>,
) -> Result<Response, Problem> {
    let admission = Admission {
        caller,
        channel,
        permit: Box::new(peer.permit),
        deadline: peer.deadline,
    };
    websocket::upgrade(&app.realtime, request, admission).map_err(|error| {
        app.metrics.handshake_failure(HandshakeFailure::Upgrade);
        let detail = error.to_string();
        let required = |detail| {
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
                .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
                .with_header(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                )
        };
        match error {
            UpgradeError::NotUpgrade | UpgradeError::BadVersion => required(detail),
            UpgradeError::BadKey => Problem::invalid(detail),
        }
    })
}
