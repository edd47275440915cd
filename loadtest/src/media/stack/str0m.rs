//! A connection on str0m.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{AbsCaptureTime, Extension, ExtensionValues, RtpWrite};
use str0m::{Candidate, IceConnectionState, Input, Rtc};

use super::{Broken, Event, H264_PROFILE, H264_PT, H264_RTX_PT, Output, Received, Wish};
use crate::media::camera::Packet;
use crate::media::dtls::Identity;
use crate::media::plan::{Source, VideoCodec};

/// The number in our offers of the extension for the time of capture.
const CAPTURE_ID: u8 = 7;

/// One connection.
pub(in crate::media) struct Connection {
    rtc: Rtc,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    video: Mid,
    audio: Option<Mid>,
    codec: Codec,
    /// As negotiated, once it is connected.
    video_pt: Option<Pt>,
    audio_pt: Option<Pt>,
}

impl Connection {
    pub(super) fn offer(
        identity: &Identity,
        wish: Wish<'_>,
        now: Instant,
    ) -> anyhow::Result<(Self, String)> {
        let mut config = Rtc::builder()
            .set_crypto_provider(identity.crypto.clone())
            .set_dtls_cert(identity.certificate.clone())
            .clear_codecs()
            .enable_opus(true, false)
            .set_rtp_mode(true);
        let codec = match wish.streams.codec {
            VideoCodec::Vp8 => {
                config = config.enable_vp8(true);
                Codec::Vp8
            }
            VideoCodec::H264 => {
                let codecs = config.codec_config();
                codecs.add_h264(H264_PT.into(), Some(H264_RTX_PT.into()), true, H264_PROFILE);
                Codec::H264
            }
        };
        if wish.streams.media == Source::Samples {
            config = config.set_extension(CAPTURE_ID, Extension::AbsoluteCaptureTime);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(wish.local, "udp")?);
        let direction = if wish.sends {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut change = rtc.sdp_api();
        let audio = wish
            .streams
            .audio
            .then(|| change.add_media(MediaKind::Audio, direction, None, None, None));
        let mut simulcast = Simulcast::new();
        for rid in wish.streams.rids() {
            simulcast.add_send_layer(SimulcastLayer::new(rid));
        }
        let publishes_layers = wish.sends && wish.streams.layers > 1;
        let simulcast = publishes_layers.then_some(simulcast);
        let video = change.add_media(MediaKind::Video, direction, None, None, simulcast);
        let (offer, pending) = change.apply().context("an offer without media")?;
        let connection = Self {
            rtc,
            local: wish.local,
            pending: Some(pending),
            video,
            audio,
            codec,
            video_pt: None,
            audio_pt: None,
        };
        Ok((connection, offer.to_sdp_string()))
    }

    pub(super) fn answer(&mut self, sdp: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(sdp)?;
        let pending = self.pending.take().context("one answer")?;
        Ok(self.rtc.sdp_api().accept_answer(pending, answer)?)
    }

    pub(super) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<bool, Broken> {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, bytes) else {
            return Ok(false);
        };
        let taken = self.rtc.handle_input(Input::Receive(now, receive));
        taken.map(|()| true).map_err(|_| Broken)
    }

    pub(super) fn wake(&mut self, now: Instant) -> Result<(), Broken> {
        self.rtc
            .handle_input(Input::Timeout(now))
            .map_err(|_| Broken)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a peer cares for few events"
    )]
    pub(super) fn poll(&mut self) -> Result<Output, Broken> {
        use str0m::Event as Happened;
        loop {
            let event = match self.rtc.poll_output().map_err(|_| Broken)? {
                str0m::Output::Timeout(at) => return Ok(Output::Wait(at)),
                str0m::Output::Transmit(transmit) => {
                    let bytes = transmit.contents.into();
                    return Ok(Output::Send(transmit.destination, bytes));
                }
                str0m::Output::Event(event) => event,
            };
            let event = match event {
                Happened::IceConnectionStateChange(
                    IceConnectionState::Connected | IceConnectionState::Completed,
                ) => Event::Checked,
                Happened::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    Event::Disconnected
                }
                Happened::Connected => {
                    self.video_pt = self.pt(self.video, self.codec);
                    self.audio_pt = self.audio.and_then(|mid| self.pt(mid, Codec::Opus));
                    Event::Connected
                }
                Happened::KeyframeRequest(request) => {
                    Event::KeyframeRequest(request.rid.map(|rid| rid.to_string()))
                }
                Happened::RtpPacket(packet) => {
                    let captured = packet.header.ext_vals.abs_capture_time;
                    Event::Packet(Received {
                        ssrc: *packet.header.ssrc,
                        captured: captured.map(|time| time.capture_time),
                        payload: packet.payload,
                    })
                }
                _ => continue,
            };
            return Ok(Output::Event(event));
        }
    }

    /// The payload type of a codec on a line, as it was negotiated.
    fn pt(&self, mid: Mid, codec: Codec) -> Option<Pt> {
        let pts = self.rtc.media(mid)?.remote_pts();
        self.rtc
            .codec_config()
            .iter()
            .filter(|params| params.spec().codec == codec)
            .map(|params| params.pt())
            .find(|pt| pts.contains(pt))
    }

    pub(super) fn write(
        &mut self,
        now: Instant,
        packet: Packet,
        captured: Option<SystemTime>,
    ) -> bool {
        let (mid, pt) = if packet.is_audio {
            (self.audio, self.audio_pt)
        } else {
            (Some(self.video), self.video_pt)
        };
        let mut direct = self.rtc.direct_api();
        let stream = mid.and_then(|mid| direct.stream_tx_by_mid(mid, packet.rid.map(Rid::from)));
        let Some((stream, pt)) = stream.zip(pt) else {
            return false;
        };
        let values = ExtensionValues {
            abs_capture_time: captured.map(|capture_time| AbsCaptureTime {
                capture_time,
                clock_offset: None,
            }),
            ..ExtensionValues::default()
        };
        let seq_no = packet.seq_no.into();
        let write = RtpWrite::new(pt, seq_no, packet.timestamp, now, packet.payload)
            .marker(packet.marker)
            .ext_vals(values)
            .nackable(!packet.is_audio);
        stream.write_rtp(write);
        true
    }

    pub(super) fn request_keyframe(&mut self, ssrc: u32) -> bool {
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_rx(&ssrc.into()) else {
            return false;
        };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        true
    }

    pub(super) fn disconnect(&mut self) {
        self.rtc.disconnect();
    }
}
