//! SDP as text: what str0m does not tell about an offer, and what it leaves out of an answer.
//!
//! str0m parses, checks and negotiates. Here lines are only read and moved: the order of payload types (RFC 9429
//! section 5.3.1 wants the offerer's), one media stream for all tracks, candidates where a rejected line held them.

use std::fmt::Write as _;

use crate::event::Kind;

/// The id of the media stream that all tracks towards a viewer belong to: players attach one stream to one element, and
/// browsers keep only the tracks of one stream in step.
const MEDIA_STREAM: &str = "redred";

/// An SDP cut at its media lines.
pub(super) struct Description<'a> {
    session: Vec<&'a str>,
    pub(super) sections: Vec<Section<'a>>,
}

/// A media line and what follows it.
pub(super) struct Section<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Description<'a> {
    pub(super) fn parse(sdp: &'a str) -> Self {
        let mut description = Self {
            session: Vec::new(),
            sections: Vec::new(),
        };
        for line in sdp.lines().map(str::trim_end).filter(|l| !l.is_empty()) {
            if line.starts_with("m=") {
                description.sections.push(Section { lines: vec![line] });
            } else if let Some(section) = description.sections.last_mut() {
                section.lines.push(line);
            } else {
                description.session.push(line);
            }
        }
        description
    }

    /// The section of a media id.
    pub(super) fn section(&self, mid: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|s| s.mid() == Some(mid))
    }
}

impl<'a> Section<'a> {
    fn media(&self) -> impl Iterator<Item = &'a str> {
        self.lines[0]["m=".len()..].split_ascii_whitespace()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let value = line.strip_prefix("a=")?.strip_prefix(name)?;
            value.strip_prefix(':')
        })
    }

    fn has_flag(&self, name: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.strip_prefix("a=") == Some(name))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self.media().next()? {
            "audio" => Some(Kind::Audio),
            "video" => Some(Kind::Video),
            _ => None,
        }
    }

    pub(super) fn mid(&self) -> Option<&'a str> {
        self.attribute("mid")
    }

    /// Port 0, and not because it is bundled with another line (RFC 9143 section 6).
    pub(super) fn is_rejected(&self) -> bool {
        self.media().nth(1) == Some("0") && !self.has_flag("bundle-only")
    }

    /// Whether whoever wrote this wants to send on it.
    pub(super) fn sends(&self) -> bool {
        !self.is_rejected() && !self.has_flag("recvonly") && !self.has_flag("inactive")
    }

    /// Whether whoever wrote this wants to receive on it.
    pub(super) fn receives(&self) -> bool {
        !self.is_rejected() && !self.has_flag("sendonly") && !self.has_flag("inactive")
    }

    pub(super) fn payload_types(&self) -> impl Iterator<Item = &'a str> {
        self.media().skip(3)
    }

    /// The codec names, for telling what was offered.
    pub(super) fn codecs(&self) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(|line| {
            let (_, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            encoding.split('/').next()
        })
    }

    /// The RIDs of the layers that will be sent (RFC 8853), in the order they were written.
    pub(super) fn simulcast_rids(&self) -> Vec<String> {
        let Some(value) = self.attribute("simulcast") else {
            return Vec::new();
        };
        let mut words = value.split_ascii_whitespace();
        while let Some(direction) = words.next() {
            let Some(list) = words.next() else { break };
            if direction != "send" {
                continue;
            }
            let layers = list.trim_start_matches("rid=").split(';');
            return layers
                .filter_map(|alternatives| alternatives.split(',').next())
                .map(|rid| rid.trim_start_matches('~').to_owned())
                .filter(|rid| !rid.is_empty() && rid.len() <= 8)
                .collect();
        }
        Vec::new()
    }
}

/// An offer or answer without its candidates and the fingerprints that cannot be verified. An ICE-lite agent learns
/// addresses from checks, and what a stranger wrote in candidates (thousands of them, names of the local network, other
/// families) is neither of use nor harmless. Of several fingerprints (RFC 8122 section 5) str0m takes the first.
pub(super) fn for_lite(sdp: &str) -> String {
    let mut text = String::with_capacity(sdp.len());
    for line in sdp.lines().map(str::trim_end) {
        let is_candidate =
            line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates");
        let fingerprint = line.strip_prefix("a=fingerprint:");
        let is_useless = is_candidate || fingerprint.is_some_and(|value| !is_verifiable(value));
        if !line.is_empty() && !is_useless {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text
}

/// A hash function that str0m has, and as many bytes as that gives.
fn is_verifiable(fingerprint: &str) -> bool {
    let Some((function, hash)) = fingerprint.trim().split_once(' ') else {
        return false;
    };
    let expected = match function.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-1" => 20,
        _ => return false,
    };
    let mut bytes = hash.trim().split(':');
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    bytes.clone().count() == expected && bytes.all(is_byte)
}

/// The same offer with other ICE credentials, as the offerer of an ICE restart would have written it.
pub(super) fn with_credentials(offer: &str, ufrag: &str, pwd: &str) -> String {
    let mut text = String::with_capacity(offer.len());
    for line in offer.lines().map(str::trim_end) {
        if line.starts_with("a=ice-ufrag:") {
            let _ = write!(text, "a=ice-ufrag:{ufrag}");
        } else if line.starts_with("a=ice-pwd:") {
            let _ = write!(text, "a=ice-pwd:{pwd}");
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    text
}

/// Completes what str0m wrote. With the offer that it answers, payload types take the offer's order.
pub(super) fn finish(ours: &str, offer: Option<&str>) -> String {
    let ours = Description::parse(ours);
    let offer = offer.map(Description::parse);
    let rejected: Vec<&str> = ours
        .sections
        .iter()
        .filter(|s| s.kind().is_some() && s.payload_types().next().is_none())
        .filter_map(Section::mid)
        .collect();
    let candidates: Vec<&str> = ours
        .sections
        .iter()
        .flat_map(|s| &s.lines)
        .filter(|line| line.starts_with("a=candidate:"))
        .copied()
        .collect();

    let mut text = String::new();
    for line in &ours.session {
        session_line(&mut text, line, &rejected);
    }
    let mut has_candidates = false;
    for section in &ours.sections {
        let mid = section.mid().unwrap_or_default();
        if rejected.contains(&mid) {
            let kind = section.media().next().unwrap_or("video");
            let _ = write!(
                text,
                "m={kind} 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=inactive\r\n"
            );
            continue;
        }
        let theirs = offer.as_ref().and_then(|offer| offer.section(mid));
        media_line(&mut text, section, theirs);
        for line in &section.lines[1..] {
            if line.starts_with("a=candidate:") {
                continue;
            }
            if line.starts_with("a=ice-ufrag:") && !has_candidates && !section.is_rejected() {
                has_candidates = true;
                for candidate in &candidates {
                    let _ = write!(text, "{candidate}\r\n");
                }
                text.push_str("a=end-of-candidates\r\n");
            }
            attribute_line(&mut text, line);
        }
    }
    text
}

fn session_line(text: &mut String, line: &str, rejected: &[&str]) {
    if let Some(mids) = line.strip_prefix("a=group:BUNDLE") {
        text.push_str("a=group:BUNDLE");
        for mid in mids.split_ascii_whitespace() {
            if !rejected.contains(&mid) {
                let _ = write!(text, " {mid}");
            }
        }
    } else if line.starts_with("a=msid-semantic:") {
        let _ = write!(text, "a=msid-semantic: WMS {MEDIA_STREAM}");
    } else {
        text.push_str(line);
    }
    text.push_str("\r\n");
}

fn media_line(text: &mut String, ours: &Section<'_>, theirs: Option<&Section<'_>>) {
    let mut head = ours.media();
    text.push_str("m=");
    for word in head.by_ref().take(3) {
        let _ = write!(text, "{word} ");
    }
    let mut types: Vec<&str> = head.collect();
    if let Some(theirs) = theirs {
        let order: Vec<&str> = theirs.payload_types().collect();
        types.sort_by_key(|pt| order.iter().position(|t| t == pt).unwrap_or(usize::MAX));
    }
    text.push_str(&types.join(" "));
    text.push_str("\r\n");
}

fn attribute_line(text: &mut String, line: &str) {
    let msid = line.strip_prefix("a=msid:").map(|msid| ("a=msid:", msid));
    let source = line
        .starts_with("a=ssrc:")
        .then(|| line.find(" msid:"))
        .flatten()
        .map(|at| line.split_at(at + " msid:".len()));
    match msid.or(source) {
        Some((head, msid)) => {
            let track = msid.split_once(' ').map_or(msid, |(_, track)| track);
            let _ = write!(text, "{head}{MEDIA_STREAM} {track}");
        }
        None => text.push_str(line),
    }
    text.push_str("\r\n");
}

/// What the body of a PATCH says (RFC 8840 section 9).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) ufrag: Option<&'a str>,
    pub(super) pwd: Option<&'a str>,
    pub(super) candidates: Vec<&'a str>,
    pub(super) has_end: bool,
}

impl<'a> Fragment<'a> {
    /// Reads the lines that matter and passes over all others: clients disagree about the rest.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut fragment = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
                fragment.ufrag.get_or_insert(ufrag.trim());
            } else if let Some(pwd) = line.strip_prefix("a=ice-pwd:") {
                fragment.pwd.get_or_insert(pwd.trim());
            } else if line.starts_with("a=candidate:") {
                fragment.candidates.push(line);
            } else if line == "a=end-of-candidates" {
                fragment.has_end = true;
            }
        }
        fragment
    }
}

/// Our credentials and candidates after a restart, as a fragment that names the lines of `answer`.
pub(super) fn restart_fragment(answer: &str) -> String {
    let answer = Description::parse(answer);
    let mut text = String::from("a=ice-lite\r\n");
    for line in &answer.session {
        if line.starts_with("a=group:") {
            let _ = write!(text, "{line}\r\n");
        }
    }
    let Some(section) = answer.sections.iter().find(|s| !s.is_rejected()) else {
        return text;
    };
    let kind = section.media().next().unwrap_or("audio");
    let _ = write!(text, "m={kind} 9 UDP/TLS/RTP/SAVPF 0\r\n");
    for line in &section.lines[1..] {
        let is_wanted = [
            "a=mid:",
            "a=ice-ufrag:",
            "a=ice-pwd:",
            "a=candidate:",
            "a=end-of-candidates",
        ]
        .iter()
        .any(|prefix| line.starts_with(prefix));
        if is_wanted {
            let _ = write!(text, "{line}\r\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "v=0\r\na=group:BUNDLE 0 1 2\r\na=msid-semantic: WMS a b\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF\r\na=candidate:1 1 udp 1 192.0.2.1 7000 typ host\r\na=ice-ufrag:u\r\na=mid:0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=ice-ufrag:u\r\na=mid:1\r\na=msid:x y\r\na=ssrc:7 msid:x y\r\na=ssrc:7 cname:c\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    #[test]
    fn a_line_without_codecs_is_rejected_and_the_candidates_move() {
        let text = finish(OURS, None);
        assert!(text.contains("a=group:BUNDLE 1 2\r\n"));
        assert!(text.contains("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n"));
        let video = text.split("m=video").nth(1).unwrap();
        assert!(video.contains("typ host\r\na=end-of-candidates\r\na=ice-ufrag:u\r\n"));
    }

    #[test]
    fn payload_types_follow_the_offer_and_tracks_share_a_stream() {
        let offer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 98 100 97 96\r\na=mid:1\r\n";
        let text = finish(OURS, Some(offer));
        assert!(text.contains("m=video 9 UDP/TLS/RTP/SAVPF 98 97 96\r\n"));
        assert!(text.contains("a=msid:redred y\r\n"));
        assert!(text.contains("a=ssrc:7 msid:redred y\r\n"));
        assert!(text.contains("a=ssrc:7 cname:c\r\n"));
    }

    #[test]
    fn of_several_fingerprints_those_that_can_be_verified_are_left() {
        let hash = |bytes: usize| vec!["0A"; bytes].join(":");
        let kept = |value: &str| for_lite(&format!("a=fingerprint:{value}")).len() > 2;
        assert!(kept(&format!("sha-256 {}", hash(32))));
        assert!(kept(&format!("SHA-1 {}", hash(20))));
        assert!(!kept(&format!("md5 {}", hash(16))));
        assert!(!kept(&format!("sha-512 {}", hash(64))));
        assert!(!kept(&format!("sha-256 {}", hash(31))));
        assert!(!kept(&format!("sha-256 {}", hash(32).replace('A', "G"))));
        assert!(!kept("sha-256"));
    }

    #[test]
    fn simulcast_layers_are_read_in_their_order() {
        let rids = |value: &str| {
            let sdp = format!("m=video 9 X 96\r\na=simulcast:{value}\r\n");
            Description::parse(&sdp).sections[0].simulcast_rids()
        };
        assert_eq!(rids("send q;h;f"), ["q", "h", "f"]);
        assert_eq!(rids("recv a send ~q,x;f"), ["q", "f"]);
        assert_eq!(rids("recv a"), Vec::<String>::new());
        assert_eq!(rids("send"), Vec::<String>::new());
    }

    #[test]
    fn a_fragment_of_any_client_is_read_leniently() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:pass\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
            a=candidate:1 1 udp 1 [2001:db8::1] 9 typ host\r\na=end-of-candidates\r\nrubbish";
        let fragment = Fragment::parse(text);
        assert_eq!((fragment.ufrag, fragment.pwd), (Some("EsAw"), Some("pass")));
        assert_eq!(fragment.candidates.len(), 1);
        assert!(fragment.has_end);
        assert_eq!(Fragment::parse(""), Fragment::default());
    }
}
