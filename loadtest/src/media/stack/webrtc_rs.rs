//! A connection on webrtc-rs: its sans-IO core, the `rtc` crate, with its own ICE, DTLS, SRTP and interceptors.

mod requests;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{
    Registry, register_default_interceptors,
};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::peer_connection::event::{RTCPeerConnectionEvent, RTCTrackEvent};
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{
    CandidateConfig, CandidateHostConfig, RTCIceCandidate, RTCIceCandidateInit,
};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpHeaderExtensionParameters, RTCRtpRtxParameters,
    RtpCodecKind,
};
use rtc::rtp_transceiver::{
    RTCRtpReceiverId, RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::{
    Broken, CAPTURE_URI, Event, H264_PROFILE, H264_PT, H264_RTX_PT, Output, Received, Wish,
};
use crate::media::camera::Packet;
use crate::media::plan::{Source, VideoCodec};

/// From the era of NTP to that of Unix.
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

/// When it names no moment of its own.
const IDLE: Duration = Duration::from_secs(1);

/// A moment that is over when it is named must not keep a thread from its sockets.
const SOON: Duration = Duration::from_millis(1);

/// A track that is sent.
struct Track {
    id: RTCRtpSenderId,
    ssrc: u32,
    /// As negotiated, from the first packet on.
    terms: Option<Terms>,
}

/// What the other side agreed to.
#[derive(Clone, Copy)]
struct Terms {
    payload_type: u8,
    /// The number of the extension for the time of capture.
    capture_id: Option<u8>,
}

/// A track that comes.
struct Heard {
    id: RTCRtpReceiverId,
    ssrc: u32,
    capture_id: Option<u8>,
}

/// One connection.
pub(in crate::media) struct Connection {
    peer: RTCPeerConnection,
    local: SocketAddr,
    /// As the codec is called.
    video_type: &'static str,
    video: Option<Track>,
    audio: Option<Track>,
    heard: Vec<Heard>,
}

fn codec(mime_type: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

impl Connection {
    pub(super) fn offer(wish: Wish<'_>, now: Instant) -> anyhow::Result<(Self, String)> {
        let opus = codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1");
        let (video, payload_type, rtx_type) = match wish.streams.codec {
            VideoCodec::Vp8 => (codec(MIME_TYPE_VP8, 90_000, 0, ""), 96, 97),
            VideoCodec::H264 => {
                let fmtp = format!(
                    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={H264_PROFILE:06x}"
                );
                let h264 = codec(MIME_TYPE_H264, 90_000, 0, &fmtp);
                (h264, H264_PT, H264_RTX_PT)
            }
        };
        let rtx = codec(MIME_TYPE_RTX, 90_000, 0, &format!("apt={payload_type}"));
        let mut engine = MediaEngine::default();
        for (rtp_codec, payload_type, kind) in [
            (opus.clone(), 111, RtpCodecKind::Audio),
            (video.clone(), payload_type, RtpCodecKind::Video),
            (rtx, rtx_type, RtpCodecKind::Video),
        ] {
            let parameters = RTCRtpCodecParameters {
                rtp_codec,
                payload_type,
            };
            engine.register_codec(parameters, kind)?;
        }
        if wish.streams.media == Source::Samples {
            for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
                let uri = CAPTURE_URI.to_owned();
                let extension = RTCRtpHeaderExtensionCapability { uri };
                engine.register_header_extension(extension, kind, None)?;
            }
        }
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        let registry = registry.with(requests::SLOT, requests::Requests::default());
        let peer = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(now)?;
        let mut connection = Self {
            peer,
            local: wish.local,
            video_type: match wish.streams.codec {
                VideoCodec::Vp8 => MIME_TYPE_VP8,
                VideoCodec::H264 => MIME_TYPE_H264,
            },
            video: None,
            audio: None,
            heard: Vec::new(),
        };
        if wish.streams.audio {
            connection.audio = connection.add(RtpCodecKind::Audio, opus, wish.sends)?;
        }
        connection.video = connection.add(RtpCodecKind::Video, video, wish.sends)?;
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: wish.local.ip().to_string(),
                port: wish.local.port(),
                component: 1,
                ..CandidateConfig::default()
            },
            ..CandidateHostConfig::default()
        };
        let candidate = RTCIceCandidate::from(&candidate.new_candidate_host()?).to_json()?;
        connection.peer.add_local_candidate(candidate)?;
        // There are no more.
        let end = RTCIceCandidateInit::default();
        connection.peer.add_local_candidate(end)?;
        let offer = connection.peer.create_offer(None)?;
        connection.peer.set_local_description(now, offer)?;
        let offer = connection.peer.local_description();
        let sdp = offer.context("an offer that was made")?.sdp;
        Ok((connection, sdp))
    }

    fn add(
        &mut self,
        kind: RtpCodecKind,
        codec: RTCRtpCodec,
        sends: bool,
    ) -> anyhow::Result<Option<Track>> {
        if !sends {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            self.peer.add_transceiver_from_kind(kind, Some(init))?;
            return Ok(None);
        }
        let ssrc = rand::random();
        let is_repaired = kind == RtpCodecKind::Video;
        let rtx = is_repaired.then(|| RTCRtpRtxParameters {
            ssrc: rand::random(),
        });
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx,
                ..RTCRtpCodingParameters::default()
            },
            codec,
            ..RTCRtpEncodingParameters::default()
        };
        let name = kind.to_string();
        let track = MediaStreamTrack::new(
            "load".to_owned(),
            name.clone(),
            name,
            kind,
            vec![encoding.clone()],
        );
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: vec!["load".to_owned()],
            send_encodings: vec![encoding],
        };
        let id = self.peer.add_transceiver_from_track(track, Some(init))?;
        Ok(Some(Track {
            id: id.into(),
            ssrc,
            terms: None,
        }))
    }

    pub(super) fn answer(&mut self, sdp: &str, now: Instant) -> anyhow::Result<()> {
        let answer = RTCSessionDescription::answer(sdp.to_owned())?;
        Ok(self.peer.set_remote_description(now, answer)?)
    }

    pub(super) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<bool, Broken> {
        let datagram = TaggedBytesMut {
            now,
            transport: TransportContext {
                local_addr: self.local,
                peer_addr: source,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: BytesMut::from(bytes),
        };
        // What is not of WebRTC it drops without a word.
        let taken = self.peer.handle_read(datagram);
        taken.map(|()| true).map_err(|_| Broken)
    }

    pub(super) fn wake(&mut self, now: Instant) -> Result<(), Broken> {
        self.peer.handle_timeout(now).map_err(|_| Broken)
    }

    pub(super) fn poll(&mut self, now: Instant) -> Output {
        loop {
            if let Some(datagram) = self.peer.poll_write() {
                return Output::Send(datagram.transport.peer_addr, datagram.message.to_vec());
            }
            if let Some(event) = self.peer.poll_event() {
                if let Some(event) = self.note(event) {
                    return Output::Event(event);
                }
                continue;
            }
            if let Some(read) = self.peer.poll_read() {
                if let Some(event) = self.read(read.message) {
                    return Output::Event(event);
                }
                continue;
            }
            let at = self.peer.poll_timeout();
            return Output::Wait(at.unwrap_or(now + IDLE).max(now + SOON));
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a peer cares for few events, and there may be more in another version"
    )]
    fn note(&mut self, event: RTCPeerConnectionEvent) -> Option<Event> {
        use RTCPeerConnectionEvent as Happened;
        match event {
            Happened::OnIceConnectionStateChangeEvent(state) => match state {
                RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                    Some(Event::Checked)
                }
                RTCIceConnectionState::Disconnected
                | RTCIceConnectionState::Failed
                | RTCIceConnectionState::Closed => Some(Event::Disconnected),
                _ => None,
            },
            Happened::OnConnectionStateChangeEvent(state) => match state {
                RTCPeerConnectionState::Connected => Some(Event::Connected),
                RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                    Some(Event::Disconnected)
                }
                _ => None,
            },
            Happened::OnTrack(RTCTrackEvent::OnOpen(track)) => {
                let receiver = self.peer.rtp_receiver(track.receiver_id);
                let capture_id = receiver.and_then(|mut receiver| {
                    capture_id(&receiver.get_parameters().rtp_parameters.header_extensions)
                });
                self.heard.push(Heard {
                    id: track.receiver_id,
                    ssrc: track.ssrc,
                    capture_id,
                });
                None
            }
            _ => None,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are no data channels, and there may be more in another version"
    )]
    fn read(&self, message: RTCMessage) -> Option<Event> {
        match message {
            RTCMessage::RtpPacket(_, packet) => {
                let ssrc = packet.header.ssrc;
                let heard = self.heard.iter().find(|heard| heard.ssrc == ssrc);
                let capture_id = heard.and_then(|heard| heard.capture_id);
                let captured = capture_id.and_then(|id| packet.header.get_extension(id));
                Some(Event::Packet(Received {
                    ssrc,
                    payload: packet.payload[..].into(),
                    captured: captured.and_then(|bytes| time(&bytes)),
                }))
            }
            RTCMessage::RtcpPacket(_, packets) => packets
                .iter()
                .any(|packet| requests::is_request(packet.as_ref()))
                .then_some(Event::KeyframeRequest(None)),
            _ => None,
        }
    }

    pub(super) fn write(
        &mut self,
        now: Instant,
        packet: Packet,
        captured: Option<SystemTime>,
    ) -> bool {
        let (track, mime_type) = if packet.is_audio {
            (&mut self.audio, MIME_TYPE_OPUS)
        } else {
            (&mut self.video, self.video_type)
        };
        let Some(track) = track else {
            return false;
        };
        let Some(mut sender) = self.peer.rtp_sender(track.id) else {
            return false;
        };
        if track.terms.is_none() {
            let parameters = &sender.get_parameters().rtp_parameters;
            let mut codecs = parameters.codecs.iter();
            let codec =
                codecs.find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(mime_type));
            track.terms = codec.map(|codec| Terms {
                payload_type: codec.payload_type,
                capture_id: capture_id(&parameters.header_extensions),
            });
        }
        let Some(terms) = track.terms else {
            return false;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what a packet has of its number"
        )]
        let sequence_number = packet.seq_no as u16;
        let mut header = rtc::rtp::Header {
            version: 2,
            marker: packet.marker,
            payload_type: terms.payload_type,
            sequence_number,
            timestamp: packet.timestamp,
            ssrc: track.ssrc,
            ..rtc::rtp::Header::default()
        };
        if let Some((id, captured)) = terms.capture_id.zip(captured)
            && header.set_extension(id, ntp(captured)).is_err()
        {
            return false;
        }
        let payload = Bytes::from(packet.payload);
        let packet = rtc::rtp::Packet { header, payload };
        sender.write_rtp(now, packet).is_ok()
    }

    pub(super) fn request_keyframe(&mut self, now: Instant, ssrc: u32) -> bool {
        let heard = self.heard.iter().find(|heard| heard.ssrc == ssrc);
        let receiver = heard.and_then(|heard| self.peer.rtp_receiver(heard.id));
        let Some(mut receiver) = receiver else {
            return false;
        };
        let request = PictureLossIndication {
            sender_ssrc: 0,
            media_ssrc: ssrc,
        };
        receiver.write_rtcp(now, vec![Box::new(request)]).is_ok()
    }

    pub(super) fn disconnect(&mut self) {
        // It is the end of it either way.
        let _ = self.peer.close();
    }
}

fn capture_id(extensions: &[RTCRtpHeaderExtensionParameters]) -> Option<u8> {
    let mut extensions = extensions.iter();
    let extension = extensions.find(|extension| extension.uri == CAPTURE_URI);
    u8::try_from(extension?.id).ok()
}

/// A time of capture as it is sent: seconds and 2⁻³² seconds since 1900.
fn ntp(time: SystemTime) -> Bytes {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default() + NTP_TO_UNIX;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let time = since.as_secs() << 32 | fraction;
    Bytes::copy_from_slice(&time.to_be_bytes())
}

/// The same way back; what follows it is the offset of a clock.
fn time(bytes: &[u8]) -> Option<SystemTime> {
    let time = u64::from_be_bytes(*bytes.first_chunk()?);
    let nanos = ((time & 0xffff_ffff) * 1_000_000_000).div_ceil(1 << 32);
    let since = Duration::from_secs(time >> 32) + Duration::from_nanos(nanos);
    SystemTime::UNIX_EPOCH.checked_add(since.checked_sub(NTP_TO_UNIX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_capture_is_read_as_it_was_written() {
        let written = SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
        assert_eq!(time(&ntp(written)), Some(written));
        assert_eq!(time(&[1, 2, 3]), None);
    }
}
