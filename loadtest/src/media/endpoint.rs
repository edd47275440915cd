//! WHIP (RFC 9725) and WHEP over HTTP: an offer in, an answer and a resource out, and the resource deleted at the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode, Url};

/// Where one peer goes.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The WHIP or WHEP endpoint.
    pub url: Url,
    /// Sent as a bearer token.
    pub token: Option<String>,
    /// Number of the stream in this run.
    pub stream: u16,
}

/// What a server has given a peer, until it is given back.
#[derive(Debug)]
pub(super) struct Resource {
    url: Url,
    token: Option<String>,
}

/// Why there is no answer: what reports count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("http {}", .0.as_u16())]
    Status(StatusCode),
    #[error("http: no connection")]
    Connection,
    #[error("http: no Location")]
    Location,
    #[error("no answer that could be used")]
    Answer,
}

/// Offers; gives the answer.
pub(super) async fn offer(
    client: &Client,
    seat: &Seat,
    sdp: String,
) -> Result<(String, Resource), Refusal> {
    let request = client
        .post(seat.url.clone())
        .header(CONTENT_TYPE, "application/sdp")
        .body(sdp);
    let request = match &seat.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = request.send().await.map_err(|_| Refusal::Connection)?;
    if response.status() != StatusCode::CREATED {
        return Err(Refusal::Status(response.status()));
    }
    // It may be relative, to where a redirect has led.
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|value| value.to_str().ok());
    let url = location.and_then(|value| response.url().join(value).ok());
    let resource = Resource {
        url: url.ok_or(Refusal::Location)?,
        token: seat.token.clone(),
    };
    let answer = response.text().await.map_err(|_| Refusal::Connection)?;
    Ok((answer, resource))
}

/// Gives a resource back.
pub(super) async fn delete(client: &Client, resource: Resource) {
    let request = client.delete(resource.url);
    let request = match resource.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    // A server that is gone, or has ended it by itself, has nothing left to end.
    let _ = request.send().await;
}

/// The address of this machine from which a server is reached.
pub(super) async fn local_ip(url: &Url) -> anyhow::Result<IpAddr> {
    let host = url.host_str().context("a URL with a host")?;
    let port = url.port_or_known_default().context("a URL with a port")?;
    let host = host.trim_matches(['[', ']']);
    let address = tokio::net::lookup_host((host, port)).await?.next();
    let address = address.with_context(|| format!("{host}: no address"))?;
    let any: IpAddr = match address {
        std::net::SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        std::net::SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting sends nothing; the system only chooses the way.
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect(address)?;
    Ok(probe.local_addr()?.ip())
}
