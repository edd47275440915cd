//! Any bytes as a sequence of packets, inspected and numbered for one viewer.
//!
//! ```text
//! input = packet*
//! packet = control:u8 seq_no:u16 ticks:u8 payload_bytes:u8 [dependency_bytes:u8] payload [dependency]
//! control: bits 0-2 codec, 3 new source, 4 has a dependency descriptor, 5-6 layer, 7 another quality
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redred_sfu::event::{Codec, Kind, Quality, Selection};
use redred_sfu::forward::packet::{Packet, SourceId};
use redred_sfu::forward::{Forwarder, codec, dependency};
use redred_sfu::layer::{Facts, Ladder};
use str0m::rtp::{ExtensionSerializer, ExtensionValues};

const CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus];
const QUALITIES: [Quality; 4] = [Quality::Auto, Quality::High, Quality::Medium, Quality::Low];

/// How far one packet may be ahead of the one before; see `JUMP_MAX` of the rewriter.
const LEAP_MAX: u64 = 1 << 14;

/// Feeds the packets that `data` describes; panics when a rule is broken.
pub(crate) fn run(data: &[u8]) {
    let start = Instant::now();
    let mut ladder = Ladder::new(&[Facts::default(); 4]);
    let mut forwarders = [Kind::Audio, Kind::Video]
        .map(|kind| Forwarder::new(kind, Selection::default(), &ladder, data.len() as u64));
    let mut given = [HashSet::new(), HashSet::new()];
    let mut highest: [Option<u64>; 2] = [None, None];
    let mut sources = [0u64; 4];
    let mut dependencies = dependency::structure::Reader::default();
    let mut ticks = 0u32;
    let mut written = Vec::new();
    let mut rest = Reader(data);

    while let Some(record) = Record::read(&mut rest) {
        let control = record.control;
        let codec = CODECS[usize::from(control & 0x07) % CODECS.len()];
        let kind = if codec == Codec::Opus {
            Kind::Audio
        } else {
            Kind::Video
        };
        let slot = control >> 5 & 0x03;
        let source = &mut sources[usize::from(slot)];
        if control & 0x08 != 0 {
            *source += 4;
        }
        ticks = ticks.wrapping_add(u32::from(record.ticks) << 8);

        let mut extensions = ExtensionValues::default();
        if let Some(bytes) = record.dependency {
            check_dependency(bytes, &mut extensions);
        }
        let mut meta = codec::inspect(codec, record.payload, record.dependency);
        if let Some(frame) = record.dependency.and_then(|bytes| dependencies.read(bytes)) {
            meta.spatial = Some(frame.spatial);
            meta.sizes = frame.sizes.or(meta.sizes);
        }
        if let Some((width, height)) = meta.dimensions {
            assert!(width > 0 && height > 0);
        }
        let packet = Packet {
            kind,
            codec,
            source: SourceId(*source + u64::from(slot)),
            slot,
            seq_no: u64::from(record.seq_no).into(),
            timestamp: ticks,
            marker: control & 1 != 0,
            payload: Arc::from(record.payload),
            extensions,
            arrived: start + Duration::from_millis(u64::from(ticks >> 8)),
            captured: start + Duration::from_millis(u64::from(ticks >> 8)),
            meta,
        };

        let viewer = usize::from(kind == Kind::Video);
        let forwarder = &mut forwarders[viewer];
        if control & 0x80 != 0 {
            let facts: Vec<Facts<'_>> = (0..4)
                .map(|bit| Facts {
                    is_alive: record.ticks >> bit & 1 != 0,
                    dimensions: meta.dimensions,
                    ..Facts::default()
                })
                .collect();
            // Without a living layer among several there is one with layers inside.
            let layered = Facts {
                is_alive: true,
                spatial: 3,
                ..Facts::default()
            };
            ladder = if record.ticks & 0x0f == 0 {
                Ladder::new(&[layered])
            } else {
                Ladder::new(&facts)
            };
            forwarder.handle_ladder(&ladder);
            let selection = Selection {
                quality: QUALITIES[usize::from(record.ticks >> 4 & 3)],
                audio_only: record.ticks >> 6 == 3,
            };
            forwarder.select(selection, &ladder);
        }
        let Some(forwarded) = forwarder.forward(&packet) else {
            continue;
        };
        let seq_no = *forwarded.egress.seq_no;
        assert!(given[viewer].insert(seq_no), "{seq_no} was given out twice");
        let limit = highest[viewer].map_or(1 << 15, |highest| highest + LEAP_MAX + 1);
        assert!(
            seq_no <= limit,
            "leapt from {:?} to {seq_no}",
            highest[viewer]
        );
        highest[viewer] = highest[viewer].max(Some(seq_no));
        written.clear();
        forwarded.egress.write_payload(&packet, &mut written);
        let is_left_out = written.is_empty() && packet.meta.spatial.is_some();
        assert!(written.len() == packet.payload.len() || is_left_out);
        if let Some(edited) = forwarded.egress.dependency(&packet) {
            written.clear();
            written.resize(edited.written_bytes(), 0);
            edited.write_to(&mut written);
        }
    }
}

/// A descriptor that is taken up comes out with the same bytes.
fn check_dependency(bytes: &[u8], extensions: &mut ExtensionValues) {
    let serializer = dependency::Serializer;
    if serializer.parse_value(bytes, extensions) {
        let mut written = [0; 256];
        let count = serializer.write_to(&mut written, extensions);
        assert_eq!(&written[..count], bytes);
    }
}

struct Record<'a> {
    control: u8,
    seq_no: u16,
    ticks: u8,
    payload: &'a [u8],
    dependency: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    fn read(rest: &mut Reader<'a>) -> Option<Self> {
        let control = rest.byte()?;
        let seq_no = u16::from_be_bytes([rest.byte()?, rest.byte()?]);
        let ticks = rest.byte()?;
        let payload_bytes = rest.byte()?;
        let dependency_bytes = if control & 0x10 != 0 {
            Some(rest.byte()?)
        } else {
            None
        };
        Some(Self {
            control,
            seq_no,
            ticks,
            payload: rest.take(payload_bytes),
            dependency: dependency_bytes.map(|bytes| rest.take(bytes)),
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// As many as there are, if fewer.
    fn take(&mut self, bytes: u8) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.0.len().min(bytes.into()));
        self.0 = rest;
        taken
    }
}
