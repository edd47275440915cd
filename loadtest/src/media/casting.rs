//! Who comes to which address with which token, from a scenario.

use anyhow::Context;
use reqwest::Url;
use serde_json::{Value, json};

use super::endpoint::Seat;
use super::plan::Streams;
use super::stack::Engines;
use super::stage::Cast;
use crate::scenario::Scenario;
use crate::token::Tokens;

/// What stands for the stream's name in an address.
const STREAM: &str = "{stream}";

/// Another server than redred, by its addresses. `{stream}` in them stands for the stream's name, `lt-0` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where to publish.
    pub whip: String,
    /// Where to watch.
    pub whep: String,
    /// Sent as a bearer token by everybody.
    pub bearer: Option<String>,
}

/// The cast of a scenario's streams: at the given endpoints, or at redred's own with a user for each.
pub(crate) async fn cast(
    scenario: &Scenario,
    streams: &Streams,
    base: &str,
    tokens: &Tokens,
    endpoints: Option<&Endpoints>,
    engines: Engines,
) -> anyhow::Result<Cast> {
    let (whip, whep) = match endpoints {
        Some(endpoints) => (endpoints.whip.clone(), endpoints.whep.clone()),
        None => (
            format!("{base}/whip/{STREAM}"),
            format!("{base}/whep/{STREAM}"),
        ),
    };
    for (flag, url) in [("--whip", &whip), ("--whep", &whep)] {
        anyhow::ensure!(
            streams.streams == 1 || url.contains(STREAM),
            "{flag}: expected {STREAM} in the address where there is more than one stream"
        );
    }
    let token = async |user: String, grants: Value| match endpoints {
        Some(endpoints) => Ok(endpoints.bearer.clone()),
        None => tokens.get(&user, grants).await.map(Some),
    };
    let seat = |template: &str, number: usize, token: Option<String>| {
        let url = template.replace(STREAM, &name(number));
        anyhow::Ok(Seat {
            url: Url::parse(&url).with_context(|| format!("{url}: expected a URL"))?,
            token,
            stream: u16::try_from(number).context("streams.streams: too many")?,
        })
    };
    let mut publishers = Vec::with_capacity(streams.streams);
    for number in 0..streams.streams {
        let grants = json!({ "publish": [name(number)] });
        let token = token(format!("lt-p{number}"), grants).await?;
        publishers.push(seat(&whip, number, token)?);
    }
    let count = streams.streams * streams.viewers;
    let mut viewers = Vec::with_capacity(count);
    for number in 0..count {
        let token = token(format!("lt-w{number}"), json!({})).await?;
        // In turn, so that all streams fill up together.
        viewers.push(seat(&whep, number % streams.streams, token)?);
    }
    Ok(Cast {
        streams: streams.clone(),
        publishers,
        viewers,
        ramp: scenario.ramp,
        impairment: scenario.impairment.clone(),
        engines,
        seed: scenario.seed,
    })
}

fn name(stream: usize) -> String {
    format!("lt-{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cast_at(streams: &str, whip: &str) -> anyhow::Result<Cast> {
        let text = format!("name = 'x'\nduration = '1s'\nstreams = {streams}");
        let scenario = Scenario::parse(&text).expect("a scenario");
        let streams = scenario.streams.as_ref().expect("streams");
        let endpoints = Endpoints {
            whip: whip.to_owned(),
            whep: "http://b/watch?s={stream}".to_owned(),
            bearer: Some("secret".to_owned()),
        };
        let tokens = Tokens::new("http://nowhere", None);
        let engines = Engines::default();
        cast(
            &scenario,
            &streams.clone(),
            "",
            &tokens,
            Some(&endpoints),
            engines,
        )
        .await
    }

    #[tokio::test]
    async fn viewers_spread_over_the_streams_of_another_server() {
        let cast = cast_at("{ streams = 2, viewers = 2 }", "http://a/{stream}");
        let cast = cast.await.expect("a cast");
        let urls: Vec<_> = cast.viewers.iter().map(|seat| seat.url.as_str()).collect();
        assert_eq!(cast.publishers[1].url.as_str(), "http://a/lt-1");
        assert_eq!(
            urls[..2],
            ["http://b/watch?s=lt-0", "http://b/watch?s=lt-1"]
        );
        assert_eq!(urls.len(), 4);
        assert!(cast.viewers.iter().all(|seat| seat.token.is_some()));
    }

    #[tokio::test]
    async fn several_streams_at_one_address_are_refused() {
        let cast = cast_at("{ streams = 2, viewers = 1 }", "http://a/one").await;
        let error = cast.expect_err("one address").to_string();
        assert!(error.contains("--whip"), "{error}");
        let cast = cast_at("{ streams = 1, viewers = 1 }", "http://a/one").await;
        assert_eq!(cast.expect("a cast").publishers.len(), 1);
    }
}
