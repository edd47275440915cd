//! The doors of the WebSocket: Origin, token, and whether the caller may be on the channel of the path, are checked
//! before the upgrade.

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use redred_signaling::ErrorCode;
use redred_signaling::api;
use redred_signaling::grants::Caller;
use redred_signaling::id::{Channel, RoomId, StreamName};
use tokio::time::timeout_at;

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
    upgrade(&app, peer, request, caller, None).await
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
    upgrade(&app, peer, request, caller, Some(Channel::Live(stream))).await
}

/// `/ws/chat/{room}/`: the connection begins subscribed to the room.
pub(super) async fn chat(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(room): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = admit(&app, &request)?;
    let room = RoomId::new(room).map_err(|error| Problem::not_found(error.to_string()))?;
    upgrade(&app, peer, request, caller, Some(Channel::Chat(room))).await
}

/// `/ws/notifications/`: the connection begins subscribed to the caller's notifications.
pub(super) async fn notifications(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = admit(&app, &request)?;
    upgrade(&app, peer, request, caller, Some(Channel::Notifications)).await
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

/// Asks the hub whether the caller may be on a channel, for as long as the handshake may take.
async fn admit_to(
    app: &Shared,
    peer: &Peer,
    caller: &Caller,
    channel: &Channel,
) -> Result<(), Problem> {
    let ask = api::Request::Admit {
        channel: channel.clone(),
    };
    let answer = timeout_at(peer.deadline, app.realtime.try_request(caller.clone(), ask)).await;
    let (failure, problem) = match answer {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => {
            let is_refused = matches!(error.code, ErrorCode::Forbidden | ErrorCode::NotFound);
            let failure = if is_refused {
                HandshakeFailure::Forbidden
            } else {
                HandshakeFailure::Overload
            };
            (failure, Problem::from(error))
        }
        Err(_) => {
            let detail = "the server has not come to it in time";
            (HandshakeFailure::Deadline, Problem::unavailable(detail))
        }
    };
    app.metrics.handshake_failure(failure);
    Err(problem)
}

async fn upgrade(
    app: &Shared,
    peer: Peer,
    request: Request,
    caller: Caller,
    channel: Option<Channel>,
) -> Result<Response, Problem> {
    if let Some(channel) = &channel {
        admit_to(app, &peer, &caller, channel).await?;
    }
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
