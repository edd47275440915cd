//! The ingress half of a peer: which packets belong to which track and layer, and how the link fares.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::format::PayloadParams;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpPacket, Ssrc};

use crate::clock::{Clock, Report};
use crate::event::Kind;
use crate::forward::dependency::{Descriptor, structure as dependency};
use crate::forward::packet::{Packet, SourceId};
use crate::track::Format;

/// SSRCs remembered at a time: three layers of four tracks. A publisher that changes them faster than it sends only
/// makes itself slow.
const ROUTES_MAX: usize = 12;

/// What a publishing peer's packets are to us.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    pub(crate) lines: SmallVec<[Line; 2]>,
    routes: SmallVec<[Route; 4]>,
    /// Of the sources that send dependency descriptors.
    dependencies: SmallVec<[(SourceId, dependency::Reader); 1]>,
    clock: Clock,
    pub(crate) link: Link,
}

/// A media line it sends on.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) mid: Mid,
    pub(crate) track: u16,
}

/// Where packets of one SSRC and payload type go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    ssrc: Ssrc,
    main: Pt,
    red: Option<Pt>,
    pub(crate) track: u16,
    pub(crate) kind: Kind,
    pub(crate) slot: u8,
    pub(crate) source: SourceId,
    pub(crate) format: Format,
    highest: u64,
}

/// How the way from the publisher to here fares, as RTCP tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    pub(crate) rtt: Option<Duration>,
    pub(crate) loss: f32,
}

/// Sequence numbers that jump back this far have started anew; further back than any reordering or repair.
const RESTART_DISTANCE: u64 = 1 << 15;

impl Publisher {
    /// The route of a packet, if it is known and still right.
    pub(crate) fn route(&mut self, ssrc: Ssrc, pt: Pt, seq_no: u64) -> Option<Route> {
        let route = self.routes.iter_mut().find(|route| route.ssrc == ssrc)?;
        if pt != route.main && Some(pt) != route.red {
            return None;
        }
        if seq_no + RESTART_DISTANCE < route.highest {
            return None;
        }
        route.highest = route.highest.max(seq_no);
        Some(*route)
    }

    /// Remembers where packets of an SSRC go from here on.
    #[expect(clippy::too_many_arguments, reason = "one for each field of a route")]
    pub(crate) fn add_route(
        &mut self,
        ssrc: Ssrc,
        params: &PayloadParams,
        format: Format,
        track: u16,
        kind: Kind,
        slot: u8,
        source: SourceId,
        seq_no: u64,
    ) -> Route {
        self.routes
            .retain(|r| r.ssrc != ssrc && (r.track, r.slot) != (track, slot));
        if self.routes.len() == ROUTES_MAX {
            self.routes.remove(0);
        }
        let route = Route {
            ssrc,
            main: params.pt(),
            red: params.red(),
            track,
            kind,
            slot,
            source,
            format,
            highest: seq_no,
        };
        self.routes.push(route);
        let routes = &self.routes;
        self.dependencies
            .retain(|(source, _)| routes.iter().any(|route| route.source == *source));
        route
    }

    /// Adds to a packet what its dependency descriptor says of layers, if it has one.
    pub(crate) fn read_dependency(&mut self, packet: &mut Packet) {
        let values = &packet.extensions.user_values;
        let Some(descriptor) = values.get::<Descriptor>() else {
            return;
        };
        let known = self.dependencies.iter();
        let index = match known
            .map(|d| d.0)
            .position(|source| source == packet.source)
        {
            Some(index) => index,
            None => {
                let reader = dependency::Reader::default();
                self.dependencies.push((packet.source, reader));
                self.dependencies.len() - 1
            }
        };
        if let Some(frame) = self.dependencies[index].1.read(descriptor.bytes()) {
            packet.meta.spatial = Some(frame.spatial);
            packet.meta.sizes = frame.sizes.or(packet.meta.sizes);
        }
    }

    /// When a packet was captured, in our time.
    pub(crate) fn captured(&mut self, kind: Kind, rtp: &RtpPacket) -> Instant {
        let rate = match kind {
            Kind::Audio => 48_000,
            Kind::Video => 90_000,
        };
        let report = rtp.last_sender_info.map(|info| Report {
            time: info.ntp_time,
            timestamp: info.rtp_time.numer() as u32,
        });
        let timestamp = rtp.header.timestamp;
        self.clock.captured(rtp.timestamp, timestamp, rate, report)
    }

    /// The track published on a media line.
    pub(crate) fn track_of(&self, mid: Mid) -> Option<u16> {
        self.lines.iter().find(|l| l.mid == mid).map(|l| l.track)
    }

    /// The media line a track is published on.
    pub(crate) fn mid_of(&self, track: u16) -> Option<Mid> {
        self.lines.iter().find(|l| l.track == track).map(|l| l.mid)
    }

    /// Forgets a track that is no longer published.
    pub(crate) fn remove_track(&mut self, track: u16) {
        self.lines.retain(|line| line.track != track);
        self.routes.retain(|route| route.track != track);
    }
}

impl Route {
    /// Whether a payload type is sound wrapped in RED.
    pub(crate) fn is_red(&self, pt: Pt) -> bool {
        self.red == Some(pt)
    }
}
