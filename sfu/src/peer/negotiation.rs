//! Offers and answers: how a peer comes to be, and how its media lines change.
//!
//! Publishers and WHEP viewers offer, and we answer; viewers on a WebSocket are offered to, one offer at a time.

use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc, RtcConfig, RtcError};

use super::sdp::{self, Description, Fragment};
use super::{Peer, Role};
use crate::config::Config;
use crate::dtls;
use crate::egress::{Egress, Keys, Negotiated};
use crate::event::{Codec, Kind, Refusal};
use crate::forward::dependency;
use crate::id::{PeerKey, StreamId};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::track::{Format, Track};

/// Who offers, and what is open.
#[derive(Debug)]
pub(super) enum Negotiation {
    /// The peer offers; its last offer is kept for an ICE restart by PATCH.
    Theirs { offer: String },
    /// We offer. At most one offer is open; what is wanted meanwhile is found out when it is answered.
    Ours { pending: Option<SdpPendingOffer> },
}

/// A media line that a publisher sends on.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) mid: Mid,
    pub(crate) kind: Kind,
    /// Of the payload type that the answer puts first: what will be sent, as far as SDP can tell.
    pub(crate) format: Format,
    pub(crate) rids: Vec<String>,
    /// It may send, but does not want to now.
    pub(crate) is_inactive: bool,
}

impl Peer {
    /// Makes a publisher from its offer. Gives the answer and the lines it sends on.
    pub(crate) fn publish(
        now: Instant,
        config: &Config,
        key: PeerKey,
        stream: StreamId,
        offer: &str,
    ) -> Result<(Self, String, Vec<Offered>), Refusal> {
        check_offer(config, offer)?;
        let (rtc, _) = build(now, config, publisher_config(config))?;
        let negotiation = Negotiation::Theirs {
            offer: String::new(),
        };
        let role = Role::Publisher(Publisher::default());
        let mut peer = Self::new(now, key, stream, role, rtc, negotiation);
        let answer = peer.accept(offer)?;
        let lines = peer.offered_lines(offer, &answer);
        if lines.is_empty() {
            return Err(no_common_codec(offer));
        }
        Ok((peer, answer, lines))
    }

    /// Makes a viewer from its offer (WHEP). Gives the answer.
    pub(crate) fn watch_offered(
        now: Instant,
        config: &Config,
        key: PeerKey,
        stream: StreamId,
        offer: &str,
        mut subscriber: Subscriber,
        tracks: &[Track],
    ) -> Result<(Self, String), Refusal> {
        check_offer(config, offer)?;
        let (rtc, keys) = build(now, config, viewer_config(config, None))?;
        subscriber.link.keys = keys;
        let negotiation = Negotiation::Theirs {
            offer: String::new(),
        };
        let role = Role::Viewer(subscriber);
        let mut peer = Self::new(now, key, stream, role, rtc, negotiation);
        let answer = peer.accept(offer)?;
        peer.update_lines(offer);
        let Role::Viewer(subscriber) = &peer.role else {
            return Err(Refusal::Unknown);
        };
        let description = Description::parse(offer);
        let is_black = tracks.iter().any(|track| {
            let mut sections = description.sections.iter();
            let is_offered = sections.any(|s| s.kind() == Some(track.kind) && s.receives());
            let mut lines = subscriber.lines_of(track.kind);
            is_offered && !lines.any(|line| line.can_carry(track))
        });
        if subscriber.lines.is_empty() || is_black {
            return Err(no_common_codec(offer));
        }
        Ok((peer, answer))
    }

    /// Makes a viewer that will be offered to. The codec that is being published goes first.
    pub(crate) fn watch(
        now: Instant,
        config: &Config,
        key: PeerKey,
        stream: StreamId,
        mut subscriber: Subscriber,
        preferred: Option<Codec>,
    ) -> Result<Self, Refusal> {
        let (rtc, keys) = build(now, config, viewer_config(config, preferred))?;
        subscriber.link.keys = keys;
        let negotiation = Negotiation::Ours { pending: None };
        let role = Role::Viewer(subscriber);
        Ok(Self::new(now, key, stream, role, rtc, negotiation))
    }

    /// The fragment by which checks for this peer are known.
    pub(crate) fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Answers another offer of a peer that offers.
    pub(crate) fn offer_again(
        &mut self,
        config: &Config,
        offer: &str,
    ) -> Result<(String, Vec<Offered>), Refusal> {
        if !matches!(self.negotiation, Negotiation::Theirs { .. }) {
            return Err(Refusal::OutOfOrder("this side offers".into()));
        }
        check_offer(config, offer)?;
        let answer = self.accept(offer)?;
        let lines = self.offered_lines(offer, &answer);
        if let Role::Viewer(_) = self.role {
            self.update_lines(offer);
        }
        Ok((answer, lines))
    }

    /// Whether lines can be added: we offer, and no offer is open.
    pub(crate) fn can_offer(&self) -> bool {
        matches!(self.negotiation, Negotiation::Ours { pending: None })
    }

    /// Offers further lines.
    pub(crate) fn offer_lines(&mut self, kinds: &[Kind]) -> Option<String> {
        let Role::Viewer(subscriber) = &mut self.role else {
            return None;
        };
        let mut changes = self.rtc.sdp_api();
        for kind in kinds {
            let (media, name) = match kind {
                Kind::Audio => (MediaKind::Audio, "audio"),
                Kind::Video => (MediaKind::Video, "video"),
            };
            let number = subscriber.lines_of(*kind).count();
            let track = format!("{name}{number}");
            let mid = changes.add_media(
                media,
                Direction::SendOnly,
                Some("redred".into()),
                Some(track),
                None,
            );
            subscriber.add_line(mid, *kind);
        }
        let (offer, pending) = changes.apply()?;
        self.negotiation = Negotiation::Ours {
            pending: Some(pending),
        };
        Some(sdp::finish(&offer.to_sdp_string(), None))
    }

    /// Takes the answer to our offer.
    pub(crate) fn accept_answer(&mut self, config: &Config, answer: &str) -> Result<(), Refusal> {
        let Negotiation::Ours { pending } = &mut self.negotiation else {
            return Err(Refusal::OutOfOrder("nothing was offered".into()));
        };
        if pending.is_none() {
            return Err(Refusal::OutOfOrder("no offer is open".into()));
        }
        check_size(config, answer)?;
        let text = sdp::for_lite(answer);
        check_fingerprints(&text)?;
        let parsed = SdpAnswer::from_sdp_string(&text).map_err(invalid)?;
        let Some(pending) = pending.take() else {
            return Err(Refusal::OutOfOrder("no offer is open".into()));
        };
        let accepted = self.rtc.sdp_api().accept_answer(pending, parsed);
        if let Err(error) = accepted {
            // The offer is used up, and how much of the answer is in force is not known: nothing can be negotiated
            // any more.
            self.is_beyond_repair = true;
            return Err(refusal(&error));
        }
        self.update_lines(answer);
        Ok(())
    }

    /// Checks a trickled candidate. An ICE-lite agent has no use for it: it answers checks from wherever they come.
    pub(crate) fn check_candidate(candidate: &str) -> Result<(), Refusal> {
        let candidate = candidate.trim().trim_start_matches("a=");
        if candidate.is_empty() || candidate.contains(".local") {
            return Ok(());
        }
        let words = candidate.split_ascii_whitespace().count();
        if candidate.len() > 1_024 || !candidate.starts_with("candidate:") || words < 8 {
            return Err(Refusal::InvalidCandidate("not an ICE candidate".into()));
        }
        Ok(())
    }

    /// Applies the body of a PATCH. Gives our fragment when it restarted ICE.
    pub(crate) fn patch(
        &mut self,
        config: &Config,
        fragment: &str,
    ) -> Result<Option<String>, Refusal> {
        check_size(config, fragment)?;
        let fragment = Fragment::parse(fragment);
        if fragment == Fragment::default() {
            return Err(Refusal::InvalidSdp("no ICE attribute in it".into()));
        }
        let Negotiation::Theirs { offer } = &self.negotiation else {
            return Err(Refusal::OutOfOrder("this side offers".into()));
        };
        let (Some(ufrag), Some(pwd)) = (fragment.ufrag, fragment.pwd) else {
            return Ok(None);
        };
        if offer.contains(&format!("a=ice-ufrag:{ufrag}\r\n"))
            && offer.contains(&format!("a=ice-pwd:{pwd}\r\n"))
        {
            return Ok(None);
        }
        let is_ice_text = |text: &str, least: usize| {
            (least..=256).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        };
        if !is_ice_text(ufrag, 4) || !is_ice_text(pwd, 22) {
            return Err(Refusal::InvalidSdp("malformed ICE credentials".into()));
        }
        let offer = sdp::with_credentials(offer, ufrag, pwd);
        let answer = self.accept(&offer)?;
        Ok(Some(sdp::restart_fragment(&answer)))
    }

    fn accept(&mut self, offer: &str) -> Result<String, Refusal> {
        let text = sdp::for_lite(offer);
        check_fingerprints(&text)?;
        let parsed = SdpOffer::from_sdp_string(&text).map_err(invalid)?;
        let answer = self
            .rtc
            .sdp_api()
            .accept_offer(parsed)
            .map_err(|error| refusal(&error))?;
        let answer = sdp::finish(&answer.to_sdp_string(), Some(&text));
        self.negotiation = Negotiation::Theirs { offer: text };
        Ok(answer)
    }

    /// The lines of an offer that we receive on.
    fn offered_lines(&self, offer: &str, answer: &str) -> Vec<Offered> {
        let (offer, answer) = (Description::parse(offer), Description::parse(answer));
        let lines = answer.sections.iter().filter_map(|section| {
            let (kind, mid) = (section.kind()?, section.mid()?);
            let theirs = offer.section(mid)?;
            if section.is_rejected() || theirs.is_rejected() {
                return None;
            }
            let format = section
                .payload_types()
                .find_map(|pt| self.format(pt.parse().ok()?))?;
            Some(Offered {
                mid: mid.into(),
                kind,
                format,
                rids: theirs.simulcast_rids(),
                is_inactive: !theirs.sends(),
            })
        });
        lines.collect()
    }

    fn format(&self, pt: u8) -> Option<Format> {
        let params = self.rtc.codec_config().find(|params| *params.pt() == pt)?;
        Format::new(params.spec())
    }

    /// Brings a viewer's lines in step with what the other side wrote.
    fn update_lines(&mut self, theirs: &str) {
        let theirs = Description::parse(theirs);
        let Role::Viewer(subscriber) = &mut self.role else {
            return;
        };
        for section in &theirs.sections {
            let (Some(kind), Some(name)) = (section.kind(), section.mid()) else {
                continue;
            };
            let mid = Mid::from(name);
            let known = subscriber.lines.iter().find(|line| line.mid == mid);
            if known.is_some_and(|line| line.is_negotiated()) {
                continue;
            }
            let is_new = known.is_none();
            let egress = egress(&mut self.rtc, kind, mid).filter(|_| section.receives());
            match egress {
                Some(egress) => {
                    if is_new {
                        subscriber.add_line(mid, kind);
                    }
                    subscriber.set_egress(mid, egress);
                }
                None => subscriber.refuse_line(mid),
            }
        }
    }
}

/// The sending end of a negotiated line; `None` when it was turned down or nothing can be sent on it.
fn egress(rtc: &mut Rtc, kind: Kind, mid: Mid) -> Option<Egress> {
    let media = rtc.media(mid)?;
    if media.disabled() || !media.direction().is_sending() {
        return None;
    }
    let params: Vec<PayloadParams> = rtc
        .codec_config()
        .params()
        .iter()
        .filter(|params| media.remote_pts().contains(&params.pt()))
        .copied()
        .collect();
    let (ssrc, repair_ssrc) = {
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None)?;
        (stream.ssrc(), stream.rtx())
    };
    let media = rtc.media(mid)?;
    let negotiated = Negotiated {
        kind,
        mid,
        ssrc,
        repair_ssrc,
        cname: media.cname(),
        extensions: media.remote_extmap(),
    };
    (!params.is_empty()).then(|| Egress::new(&negotiated, params.into_iter()))
}

fn build(now: Instant, config: &Config, rtc_config: RtcConfig) -> Result<(Rtc, Keys), Refusal> {
    let (mut rtc, keys) = dtls::with_keys(|| rtc_config.build(now));
    for address in &config.candidates {
        let candidate = Candidate::host(*address, "udp")
            .map_err(|error| Refusal::InvalidCandidate(error.to_string()))?;
        rtc.add_local_candidate(candidate);
    }
    Ok((rtc, keys))
}

fn base_config(config: &Config, codecs: Vec<PayloadParams>, extensions: ExtensionMap) -> RtcConfig {
    let mut rtc_config = RtcConfig::new()
        .set_crypto_provider(config.identity.crypto.clone())
        .set_dtls_cert(config.identity.certificate.clone())
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_stats_interval(Some(config.stats_interval))
        .set_mtu(config.mtu..=1500)
        .set_extension_map(extensions);
    *rtc_config.codec_config() = CodecConfig::new_from_payload_params(codecs);
    rtc_config
}

/// What publishers may send. The order does not matter: answers take the offer's.
fn publisher_config(config: &Config) -> RtcConfig {
    let mut extensions = forwarded_extensions();
    // Feedback on every packet is what lets a browser's sender find its bitrate.
    extensions.set(3, Extension::TransportSequenceNumber);
    extensions.set(10, Extension::RtpStreamId);
    extensions.set(11, Extension::RepairedRtpStreamId);
    base_config(config, codecs(), extensions)
}

/// What viewers may get. Nothing here estimates their bandwidth, so none of the feedback for it is asked for.
fn viewer_config(config: &Config, preferred: Option<Codec>) -> RtcConfig {
    let mut codecs = codecs();
    for params in &mut codecs {
        params.set_fb_transport_cc(false);
        params.set_fb_remb(false);
    }
    if let Some(preferred) = preferred {
        codecs.sort_by_key(|params| {
            Format::new(params.spec()).map(|format| format.codec) != Some(preferred)
        });
    }
    base_config(config, codecs, forwarded_extensions())
}

fn codecs() -> Vec<PayloadParams> {
    let mut config = CodecConfig::empty();
    config.enable_opus(true, true);
    config.enable_vp8(true);
    config.enable_h264(true);
    config.enable_vp9(true);
    config.enable_av1(true);
    config.params().to_vec()
}

/// Header extensions that pass from publisher to viewer, and the media id that both sides need.
fn forwarded_extensions() -> ExtensionMap {
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::AudioLevel);
    extensions.set(4, Extension::RtpMid);
    extensions.set(5, Extension::PlayoutDelay);
    extensions.set(6, Extension::VideoContentType);
    extensions.set(7, Extension::AbsoluteCaptureTime);
    extensions.set(
        8,
        Extension::with_serializer(dependency::URI, dependency::Serializer),
    );
    extensions.set(13, Extension::VideoOrientation);
    extensions
}

fn check_size(config: &Config, text: &str) -> Result<(), Refusal> {
    if text.len() > config.sdp_bytes_max {
        return Err(Refusal::Limit("bytes of SDP"));
    }
    Ok(())
}

fn check_offer(config: &Config, offer: &str) -> Result<(), Refusal> {
    check_size(config, offer)?;
    let description = Description::parse(offer);
    if description.sections.is_empty() {
        return Err(Refusal::InvalidSdp("no media line".into()));
    }
    if description.sections.len() > config.media_lines_max {
        return Err(Refusal::Limit("media lines"));
    }
    Ok(())
}

/// An offer or answer by which DTLS could not succeed is refused now, not when the connection is made. What is left of
/// fingerprints here are those that can be verified.
fn check_fingerprints(text: &str) -> Result<(), Refusal> {
    if text.contains("a=fingerprint:") {
        return Ok(());
    }
    Err(Refusal::InvalidSdp(
        "no a=fingerprint with sha-256 or sha-1 and a hash of its length".into(),
    ))
}

fn no_common_codec(offer: &str) -> Refusal {
    let description = Description::parse(offer);
    let mut names: Vec<&str> = description
        .sections
        .iter()
        .filter(|section| section.kind().is_some())
        .flat_map(|section| section.codecs())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(16);
    Refusal::NoCommonCodec(format!("offered {}", names.join(", ")))
}

fn invalid(error: impl std::fmt::Display) -> Refusal {
    Refusal::InvalidSdp(error.to_string())
}

fn refusal(error: &RtcError) -> Refusal {
    if matches!(error, RtcError::ChangesOutOfOrder) {
        return Refusal::OutOfOrder(error.to_string());
    }
    Refusal::InvalidSdp(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_on_offer_is_one_that_is_forwarded() {
        for params in codecs() {
            assert!(
                Format::new(params.spec()).is_some(),
                "{:?} is negotiated and not forwarded",
                params.spec().codec
            );
        }
        assert!(
            codecs()
                .iter()
                .any(|p| p.spec().codec == str0m::format::Codec::Av1)
        );
    }

    #[test]
    fn candidates_are_checked_leniently() {
        let ok = [
            "",
            "candidate:1 1 udp 2113937151 192.0.2.7 50000 typ host",
            "a=candidate:1 1 UDP 1 2001:db8::1 9 typ host generation 0",
            "candidate:1 1 udp 1 d6f9e2b1-5a3c.local 9 typ host",
            "candidate:1 1 tcp 1 192.0.2.7 9 typ host tcptype active",
        ];
        for candidate in ok {
            assert_eq!(Peer::check_candidate(candidate), Ok(()), "{candidate}");
        }
        assert!(Peer::check_candidate("rubbish").is_err());
        assert!(Peer::check_candidate("candidate:1 1 udp").is_err());
    }
}
