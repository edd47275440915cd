//! Which web sites may use the server from a browser (RFC 6454).

use axum::http::{HeaderMap, Uri, header};

use crate::config::Origins;

/// Judges the `Origin` header of requests.
#[derive(Clone)]
pub struct Policy {
    allowed: Origins,
    scheme: &'static str,
}

/// What an `Origin` header amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No header: not a browser, or a browser's same-origin navigation.
    Missing,
    /// A page that may use this server.
    Allowed,
    /// Some other page.
    Foreign,
}

impl Policy {
    /// A policy of a server that speaks TLS or not.
    pub fn new(allowed: Origins, is_tls: bool) -> Self {
        let scheme = if is_tls { "https" } else { "http" };
        Self { allowed, scheme }
    }

    /// Tells whether every site is allowed.
    pub fn is_open(&self) -> bool {
        self.allowed == Origins::Any
    }

    /// Judges a request. `null`, several origins and anything malformed are foreign, unless every site is allowed.
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let Some(value) = values.next() else {
            return Verdict::Missing;
        };
        if self.is_open() {
            return Verdict::Allowed;
        }
        let origin = value.to_str().ok().and_then(normalise);
        let (Some(origin), None) = (origin, values.next()) else {
            return Verdict::Foreign;
        };
        let is_listed = match &self.allowed {
            Origins::Listed(list) => list.contains(&origin),
            Origins::Same | Origins::Any => false,
        };
        if is_listed || self.own(headers).is_some_and(|own| own == origin) {
            Verdict::Allowed
        } else {
            Verdict::Foreign
        }
    }

    /// The origin of pages that this request's server name serves.
    fn own(&self, headers: &HeaderMap) -> Option<String> {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        normalise(&format!("{}://{host}", self.scheme))
    }
}

/// Brings an origin (scheme, host, port) to the one form that comparisons use: lower case, default port left out.
/// None when it is not an origin: `null`, a path, credentials, another scheme.
pub fn normalise(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let authority = uri.authority()?;
    let is_bare = uri.query().is_none() && uri.path() == "/" && !origin.ends_with('/');
    if !is_bare || authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let default = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    // A port that is there but is no number makes the authority as a whole longer than host and port.
    let host = authority.host().to_ascii_lowercase();
    let has_bad_port = authority.port().is_some() && authority.port_u16().is_none();
    let has_colon = authority.as_str().len() > host.len() && authority.port().is_none();
    if has_bad_port || has_colon {
        return None;
    }
    Some(match authority.port_u16() {
        Some(port) if port != default => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    })
}

/// Tells whether the `Host` header names this very machine.
///
/// In dev mode tokens are open to whoever reaches the server. A foreign site whose name was made to point to 127.0.0.1
/// (DNS rebinding) has a matching `Origin`, but it cannot forge `Host`.
pub fn is_loopback_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let host = host.to_str().ok().map(|host| format!("http://{host}"));
    let Some(uri) = host.and_then(|host| host.parse::<Uri>().ok()) else {
        return false;
    };
    let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local_name =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local_name
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(allowed: &Origins, host: &str, origin: Option<&str>) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header value"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header value"));
        }
        Policy::new(allowed.clone(), false).judge(&headers)
    }

    #[test]
    fn same_origin_is_scheme_host_and_port() {
        let check = |origin, expected| {
            let verdict = verdict(&Origins::Same, "live.example:8080", Some(origin));
            assert_eq!(verdict, expected, "{origin}");
        };
        check("http://live.example:8080", Verdict::Allowed);
        check("HTTP://LIVE.example:8080", Verdict::Allowed);
        check("https://live.example:8080", Verdict::Foreign);
        check("http://live.example", Verdict::Foreign);
        check("http://live.example:8081", Verdict::Foreign);
        check("http://a.live.example:8080", Verdict::Foreign);
        check("http://live.example.evil.org:8080", Verdict::Foreign);
        check("http://evillive.example:8080", Verdict::Foreign);
        check("http://live.example:8080@evil.org", Verdict::Foreign);
        check("http://live.example:8080/", Verdict::Foreign);
        check("http://live.example:80800", Verdict::Foreign);
        check("http://live.example:", Verdict::Foreign);
        check("null", Verdict::Foreign);
        check("", Verdict::Foreign);
        check("file://", Verdict::Foreign);
    }

    #[test]
    fn default_port_may_be_written_or_not() {
        let check = |host, origin| {
            assert_eq!(
                verdict(&Origins::Same, host, Some(origin)),
                Verdict::Allowed
            );
        };
        check("live.example:80", "http://live.example");
        check("live.example", "http://live.example:80");
        check("[::1]:8080", "http://[::1]:8080");
    }

    #[test]
    fn missing_origin_is_told_apart() {
        assert_eq!(verdict(&Origins::Same, "a", None), Verdict::Missing);
    }

    #[test]
    fn listed_origins_are_allowed_beside_the_own() {
        let listed = Origins::Listed(vec!["https://app.example".to_owned()]);
        let check = |origin, expected| {
            assert_eq!(verdict(&listed, "a:8080", Some(origin)), expected);
        };
        check("https://app.example", Verdict::Allowed);
        check("https://app.example:443", Verdict::Allowed);
        check("http://a:8080", Verdict::Allowed);
        check("http://app.example", Verdict::Foreign);
        assert_eq!(
            verdict(&Origins::Any, "a:8080", Some("null")),
            Verdict::Allowed
        );
    }

    #[test]
    fn loopback_hosts() {
        let check = |host: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header value"));
            assert_eq!(is_loopback_host(&headers), expected, "{host}");
        };
        check("localhost:8080", true);
        check("127.0.0.1:8080", true);
        check("[::1]:8080", true);
        check("app.localhost", true);
        check("evil.example:8080", false);
        check("127.0.0.1.evil.example", false);
        check("192.0.2.1", false);
    }
}
