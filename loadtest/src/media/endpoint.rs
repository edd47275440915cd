//! WHIP (RFC 9725) and WHEP over HTTP: an offer in, an answer and a resource out, and the resource deleted at the end.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often an offer may be sent on.
const REDIRECTS: usize = 5;

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
    #[error("http {}{}", .0.as_u16(), meaning(*.0))]
    Status(StatusCode),
    #[error("http: no connection")]
    Connection,
    #[error("http: a certificate that is not trusted")]
    Certificate,
    #[error("http: no answer in {} s", PATIENCE.as_secs())]
    Silence,
    #[error("http 201 without a Location that could be used")]
    Location,
    #[error("an offer instead of an answer")]
    CounterOffer,
    #[error("no answer that could be used")]
    Answer,
}

/// What a status means that is not plain from its number.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        status if status.is_success() => ", not 201",
        status if status.is_redirection() => ", not 307 or 308: the offer is not sent on",
        StatusCode::NOT_ACCEPTABLE => ": the offer is not acceptable, or answered with another",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ": it does not take application/sdp",
        _ => "",
    }
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        let mut causes = std::iter::successors(error.source(), |error| (*error).source());
        if error.is_timeout() {
            Self::Silence
        } else if causes.any(|cause| cause.to_string().contains("certificate")) {
            Self::Certificate
        } else {
            Self::Connection
        }
    }
}

/// The client of a run.
///
/// # Errors
/// When this machine has no TLS.
pub(super) fn client() -> anyhow::Result<Client> {
    // Other redirects would make a GET of an offer.
    let policy = Policy::custom(|attempt| match attempt.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            if attempt.previous().len() <= REDIRECTS =>
        {
            attempt.follow()
        }
        _ => attempt.stop(),
    });
    let client = Client::builder().redirect(policy).timeout(PATIENCE);
    client.build().context("a client of HTTP")
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
    let response = request.send().await?;
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
    let answer = match response.text().await {
        // Only an offer leaves it open who begins with DTLS.
        Ok(sdp) if sdp.contains("a=setup:actpass") => Err(Refusal::CounterOffer),
        Ok(sdp) => Ok(sdp),
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(answer) => Ok((answer, resource)),
        Err(refusal) => {
            delete(client, resource).await;
            Err(refusal)
        }
    }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    const SDP: &str = "content-type: application/sdp\r\ncontent-length: 4\r\n\r\nv=0\n";

    /// Answers requests in turn; gives the address, and what was asked.
    async fn server(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = Vec::new();
                // The offers here end with a line of dots.
                loop {
                    let mut buffer = [0; 1_024];
                    let bytes = stream.read(&mut buffer).await.expect("a request");
                    request.extend(&buffer[..bytes]);
                    let is_whole = request.starts_with(b"DELETE") || request.ends_with(b"...");
                    if bytes == 0 || (is_whole && request.windows(4).any(|w| w == b"\r\n\r\n")) {
                        break;
                    }
                }
                let answer = answer.replace("HOST", &address.to_string()).replacen(
                    "\r\n",
                    "\r\nconnection: close\r\n",
                    1,
                );
                stream.write_all(answer.as_bytes()).await.expect("a reader");
                asked.push(String::from_utf8(request).expect("text"));
            }
            asked
        });
        (format!("http://{address}"), asked)
    }

    async fn refusal(answer: &str) -> String {
        let (base, _asked) = server(vec![answer.to_owned()]).await;
        let seat = seat(&base);
        let client = client().expect("a client");
        let offered = offer(&client, &seat, "v=0 ...".to_owned()).await;
        offered.expect_err(answer).to_string()
    }

    fn seat(base: &str) -> Seat {
        Seat {
            url: format!("{base}/whip/a").parse().expect("a URL"),
            token: Some("secret".to_owned()),
            stream: 0,
        }
    }

    #[tokio::test]
    async fn an_offer_is_sent_on_and_the_resource_is_deleted_where_it_was_made() {
        // The last is absolute, here without its scheme.
        for (location, path) in [("../r/1", "/r/1"), ("/r/2", "/r/2"), ("//HOST/r/3", "/r/3")] {
            let (base, asked) = server(vec![
                "HTTP/1.1 307 x\r\nlocation: /moved/whip\r\ncontent-length: 0\r\n\r\n".to_owned(),
                format!("HTTP/1.1 201 x\r\nlocation: {location}\r\n{SDP}"),
                "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ])
            .await;
            let client = client().expect("a client");
            let offered = offer(&client, &seat(&base), "v=0 ...".to_owned()).await;
            let (answer, resource) = offered.expect("an answer");
            assert_eq!(answer, "v=0\n");
            delete(&client, resource).await;
            let asked = asked.await.expect("no panic");
            assert!(asked[0].starts_with("POST /whip/a "), "{}", asked[0]);
            assert!(asked[1].starts_with("POST /moved/whip "), "{}", asked[1]);
            assert!(asked[1].ends_with("v=0 ..."), "{}", asked[1]);
            assert!(
                asked[2].starts_with(&format!("DELETE {path} ")),
                "{}",
                asked[2]
            );
            let is_signed = |request: &String| request.contains("authorization: Bearer secret");
            assert!(asked.iter().all(is_signed), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_by_what_it_is() {
        for (answer, told) in [
            (format!("HTTP/1.1 201 x\r\n{SDP}"), "without a Location"),
            (
                format!("HTTP/1.1 200 x\r\nlocation: /r\r\n{SDP}"),
                "http 200, not 201",
            ),
            (
                format!("HTTP/1.1 406 x\r\n{SDP}"),
                "http 406: the offer is not acceptable",
            ),
            (
                format!("HTTP/1.1 415 x\r\n{SDP}"),
                "does not take application/sdp",
            ),
            (
                format!("HTTP/1.1 302 x\r\nlocation: /r\r\n{SDP}"),
                "http 302, not 307",
            ),
            (format!("HTTP/1.1 404 x\r\n{SDP}"), "http 404"),
            ("nonsense\r\n\r\n".to_owned(), "http: no connection"),
        ] {
            let refusal = refusal(&answer).await;
            assert!(refusal.contains(told), "{answer:?}: {refusal}");
        }
    }

    #[tokio::test]
    async fn a_resource_that_came_with_an_offer_is_given_back() {
        let (base, asked) = server(vec![
            "HTTP/1.1 201 x\r\nlocation: /r\r\ncontent-length: 15\r\n\r\na=setup:actpass"
                .to_owned(),
            "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ])
        .await;
        let client = client().expect("a client");
        let offered = offer(&client, &seat(&base), "v=0 ...".to_owned()).await;
        let refusal = offered.expect_err("an offer").to_string();
        assert_eq!(refusal, "an offer instead of an answer");
        assert!(asked.await.expect("no panic")[1].starts_with("DELETE /r "));
    }
}
