//! Hot path. What a viewer's packets leave through.
//!
//! Everything above deals in numbered packets; here they become datagrams. A viewer's `Rtc` keeps ICE, DTLS and the
//! session description, and this file has the keys that its DTLS agreed on:
//!
//! ```text
//! packet of the publisher, shared by all viewers          Ring, for whoever asks again
//!   -> Egress::send: header, extensions, payload with this viewer's numbers
//!   -> srtp: sealed where it lies in Datagrams -> the shell's socket
//! feedback of the viewer -> srtp: opened -> rtcp: read -> keyframes, Egress::repeat
//! ```
//!
//! Nothing is allocated for a packet, but for the buffer that grows until it is large enough.

mod header;
mod history;
mod ring;
mod rtcp;
mod srtp;
mod window;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{Mid, Pt};
use str0m::rtp::{ExtensionMap, Ssrc};

use crate::config::WallClock;
use crate::datagrams::Datagrams;
use crate::event::Kind;
use crate::forward::packet::{self, Packet};
use crate::track::{Format, Track};

use header::{Fixed, Ids, Values};
use history::{Budget, History, Sent};
use rtcp::Report;
use srtp::{Opener, Sealer, Stream};

pub(crate) use history::Place;
pub(crate) use ring::Ring;
pub(crate) use rtcp::{Feedback, Nack, is_rtcp};
pub(crate) use srtp::Keying;

/// How often a viewer is told what time belongs to the timestamps. Browsers bring sound and pictures in step with the
/// second report; a shorter interval costs a datagram each time.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Lines of one report, so that it fits a datagram.
const REPORTS_MAX: usize = 12;

/// The largest feedback that is opened; what is larger was cut by the path or is no feedback.
const FEEDBACK_BYTES_MAX: usize = 1_500;

/// Where DTLS puts what it agreed on.
pub(crate) type Keys = Arc<OnceLock<Keying>>;

/// The sending end of a viewer's connection, shared by its lines.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) keys: Keys,
    /// The pair that ICE has nominated: from where, to where.
    path: Option<(SocketAddr, SocketAddr)>,
    /// There once the connection is up.
    crypto: Option<Box<(Sealer, Opener)>>,
    budget: Budget,
    reports_at: Option<Instant>,
}

/// The sending end of one m-line: its SSRC for the life of the session, and what was negotiated.
#[derive(Debug)]
pub(crate) struct Egress {
    main: Stream,
    repair: Option<Repair>,
    params: SmallVec<[PayloadParams; 4]>,
    mid: Mid,
    /// The viewer knows which line the SSRC belongs to.
    is_known: bool,
    ids: Ids,
    cname: String,
    clock_rate: u32,
    history: History,
    packets: u32,
    bytes: u32,
    /// The last timestamp, and when it was captured.
    newest: Option<(u32, Instant)>,
}

/// The SSRC on which packets are sent again (RFC 4588).
#[derive(Debug)]
struct Repair {
    stream: Stream,
    next: u64,
    is_known: bool,
}

/// What is negotiated of a line.
pub(crate) struct Negotiated<'a> {
    pub(crate) kind: Kind,
    pub(crate) mid: Mid,
    pub(crate) ssrc: Ssrc,
    pub(crate) repair_ssrc: Option<Ssrc>,
    pub(crate) cname: &'a str,
    pub(crate) extensions: &'a ExtensionMap,
}

/// The payload types that carry a track to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PayloadTypes {
    pub(crate) main: Pt,
    /// For sound wrapped in RED (RFC 2198), when the viewer takes it.
    pub(crate) red: Option<Pt>,
}

impl Link {
    /// The connection is up, its certificate verified. False when the keys are of no use.
    pub(crate) fn open(&mut self) -> bool {
        if self.crypto.is_none() {
            self.crypto = self.keys.get().and_then(srtp::open).map(Box::new);
        }
        self.crypto.is_some()
    }

    /// Whether packets can be sealed.
    pub(crate) fn is_open(&self) -> bool {
        self.crypto.is_some()
    }

    /// ICE has nominated a pair.
    pub(crate) fn set_path(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.path = Some((source, destination));
    }

    /// Whether packets go somewhere else than to this address.
    pub(crate) fn leads_elsewhere(&self, address: SocketAddr) -> bool {
        self.crypto.is_some()
            && self
                .path
                .is_none_or(|(_, destination)| destination != address)
    }

    /// When the next report is due.
    pub(crate) fn reports_at(&self) -> Option<Instant> {
        self.reports_at
    }

    /// Whether a report is due.
    pub(crate) fn is_report_due(&self, now: Instant) -> bool {
        self.reports_at.is_some_and(|at| at <= now)
    }

    /// Opens and reads feedback; false when it is not authentic.
    pub(crate) fn read_feedback(&mut self, datagram: &[u8], handle: impl FnMut(Feedback)) -> bool {
        let mut buffer = [0; FEEDBACK_BYTES_MAX];
        let Some(target) = buffer.get_mut(..datagram.len()) else {
            return false;
        };
        target.copy_from_slice(datagram);
        let Some((_, opener)) = self.crypto.as_deref_mut() else {
            return false;
        };
        let Some(compound) = opener.open_rtcp(target) else {
            return false;
        };
        rtcp::read(compound, handle);
        true
    }

    /// Reports on the lines that have sent something, and says goodbye when it `is_last`.
    pub(crate) fn report<'a>(
        &mut self,
        now: Instant,
        wall: WallClock,
        lines: impl Iterator<Item = &'a Egress> + Clone,
        is_last: bool,
        datagrams: &mut Datagrams,
    ) {
        self.reports_at = None;
        let reports = lines.filter_map(Egress::report).take(REPORTS_MAX);
        let (Some((source, destination)), Some((sealer, _))) =
            (self.path, self.crypto.as_deref_mut())
        else {
            return;
        };
        if reports.clone().next().is_none() {
            return;
        }
        self.reports_at = Some(now + REPORT_INTERVAL);
        datagrams.write(source, destination, |buffer| {
            let start = buffer.len();
            rtcp::write_reports(buffer, now, wall, reports.clone());
            if is_last {
                rtcp::write_goodbye(buffer, reports.map(|report| report.ssrc));
            }
            sealer.seal_rtcp(buffer, start)
        });
    }
}

impl Egress {
    pub(crate) fn new(
        negotiated: &Negotiated<'_>,
        params: impl Iterator<Item = PayloadParams>,
    ) -> Self {
        Self {
            main: Stream::new(negotiated.ssrc),
            repair: negotiated.repair_ssrc.map(|ssrc| Repair {
                stream: Stream::new(ssrc),
                next: 1,
                is_known: false,
            }),
            params: params.collect(),
            mid: negotiated.mid,
            is_known: false,
            ids: Ids::new(negotiated.extensions),
            cname: negotiated.cname.to_owned(),
            clock_rate: match negotiated.kind {
                Kind::Audio => 48_000,
                Kind::Video => 90_000,
            },
            history: History::default(),
            packets: 0,
            bytes: 0,
            newest: None,
        }
    }

    pub(crate) fn ssrc(&self) -> Ssrc {
        self.main.ssrc()
    }

    /// The SSRCs that are sealed on.
    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = Ssrc> {
        let repair = self.repair.as_ref().map(|repair| repair.stream.ssrc());
        std::iter::once(self.main.ssrc()).chain(repair)
    }

    /// The payload types for a format; `None` when the viewer negotiated nothing that decodes it.
    pub(crate) fn payload_types(&self, format: Format) -> Option<PayloadTypes> {
        let wanted = PayloadParams::new(Pt::from(0), None, format.spec);
        let negotiated = CodecConfig::new_from_payload_params(self.params.to_vec());
        let params = negotiated.match_params(wanted)?;
        Some(PayloadTypes {
            main: params.pt(),
            red: params.red(),
        })
    }

    /// Sends a packet. Until the connection is up, packets with a place are only remembered, for
    /// [`Self::send_waiting`]. False when nothing was sent.
    pub(crate) fn send(
        &mut self,
        link: &mut Link,
        pt: Pt,
        packet: &Packet,
        egress: &packet::Egress,
        place: Option<Place>,
        datagrams: &mut Datagrams,
    ) -> bool {
        if let Some(place) = place {
            self.history.push(egress, pt, place);
        }
        let (Some((source, destination)), Some((sealer, _))) = (link.path, link.crypto.as_deref())
        else {
            return false;
        };
        let fixed = Fixed {
            pt,
            seq_no: *egress.seq_no as u16,
            timestamp: egress.timestamp,
            marker: egress.marker,
            ssrc: self.main.ssrc(),
        };
        let values = Values {
            mid: (!self.is_known).then_some(self.mid),
            passed_on: (!egress.is_empty).then_some(&packet.extensions),
            dependency: egress.dependency(packet).filter(|_| !egress.is_empty),
        };
        let (ids, main) = (&self.ids, &mut self.main);
        let is_sent = datagrams.write(source, destination, |buffer| {
            let start = buffer.len();
            let bytes = header::write(buffer, &fixed, ids, &values);
            egress.write_payload(packet, buffer);
            sealer.seal_rtp(main, *egress.seq_no, bytes, buffer, start)
        });
        if is_sent {
            if self.packets == 0 {
                link.reports_at = Some(packet.arrived);
            }
            self.packets = self.packets.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
            self.newest = Some((egress.timestamp, packet.captured));
            link.budget.earn(packet.payload.len());
        }
        is_sent
    }

    /// Sends what came before the connection was up. Tells how many packets that were.
    pub(crate) fn send_waiting(
        &mut self,
        link: &mut Link,
        tracks: &[Track],
        datagrams: &mut Datagrams,
    ) -> u64 {
        let waiting: Vec<Sent> = self.history.iter().collect();
        let mut count = 0;
        for sent in waiting {
            if let Some(packet) = find(tracks, sent.place()) {
                let is_sent = self.send(link, sent.pt(), packet, &sent.egress(), None, datagrams);
                count += u64::from(is_sent);
            }
        }
        count
    }

    /// Sends a packet again, if it is still there and the budget allows it. `None` when there is nothing to send, false when
    /// it would be too much.
    pub(crate) fn repeat(
        &mut self,
        link: &mut Link,
        seq_no: u16,
        tracks: &[Track],
        datagrams: &mut Datagrams,
    ) -> Option<bool> {
        let repair = self.repair.as_mut()?;
        let (source, destination) = link.path?;
        let (sealer, _) = link.crypto.as_deref()?;
        let sent = self.history.repeat(seq_no)?;
        let packet = find(tracks, sent.place())?;
        let params = self.params.iter().find(|params| params.pt() == sent.pt())?;
        let pt = params.resend()?;
        if !link.budget.spend(packet.payload.len()) {
            return Some(false);
        }
        let egress = sent.egress();
        let fixed = Fixed {
            pt,
            seq_no: repair.next as u16,
            timestamp: egress.timestamp,
            marker: egress.marker,
            ssrc: repair.stream.ssrc(),
        };
        let values = Values {
            mid: (!repair.is_known).then_some(self.mid),
            passed_on: (!egress.is_empty).then_some(&packet.extensions),
            dependency: egress.dependency(packet).filter(|_| !egress.is_empty),
        };
        let is_sent = datagrams.write(source, destination, |buffer| {
            let start = buffer.len();
            let bytes = header::write(buffer, &fixed, &self.ids, &values);
            buffer.extend_from_slice(&(*egress.seq_no as u16).to_be_bytes());
            egress.write_payload(packet, buffer);
            sealer.seal_rtp(&mut repair.stream, repair.next, bytes, buffer, start)
        });
        repair.next += 1;
        Some(is_sent)
    }

    /// The viewer has received packets of an SSRC, so it knows the line by it.
    pub(crate) fn handle_known(&mut self, ssrc: Ssrc) {
        self.is_known |= self.main.ssrc() == ssrc;
        if let Some(repair) = &mut self.repair {
            repair.is_known |= repair.stream.ssrc() == ssrc;
        }
    }

    fn report(&self) -> Option<Report<'_>> {
        Some(Report {
            ssrc: self.main.ssrc(),
            cname: &self.cname,
            newest: self.newest?,
            clock_rate: self.clock_rate,
            packets: self.packets,
            bytes: self.bytes,
        })
    }
}

fn find(tracks: &[Track], place: Place) -> Option<&Packet> {
    let track = tracks.iter().find(|track| track.number == place.track)?;
    track.kept(place.slot, place.position)
}
