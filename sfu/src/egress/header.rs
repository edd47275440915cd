//! Hot path. The RTP header of a packet to a viewer, with its extensions (RFC 3550 section 5.1, RFC 8285).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+-+-------+-+-------------+-------------------------------+
//! | 2 |P|X|   0   |M|     PT      |        sequence number        |
//! +---+-+-+-------+-+-------------+-------------------------------+
//! |                           timestamp                           |
//! +---------------------------------------------------------------+
//! |                             SSRC                              |
//! +-------------------------------+-------------------------------+
//! | BE DE, or 10 00: longer ones  |      words that follow        | when X
//! |  id   | len-1 | value ...     |  id   | len-1 | value ..  0 0 |
//! +---------------------------------------------------------------+
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use str0m::media::{Mid, Pt};
use str0m::rtp::{Extension, ExtensionMap, ExtensionValues, Ssrc};

use crate::forward::dependency;

/// Bytes without extensions.
const FIXED_BYTES: usize = 12;

const HAS_EXTENSIONS: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;

/// The two forms of extensions. The short one has room for ids up to 14 and for 16 bytes.
const SHORT_FORM: [u8; 2] = [0xbe, 0xde];
const LONG_FORM: [u8; 2] = [0x10, 0x00];
const SHORT_ID_MAX: u8 = 14;
const SHORT_BYTES_MAX: usize = 16;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH_SECONDS: u64 = 2_208_988_800;

/// The fields that every packet has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    pub(super) pt: Pt,
    pub(super) seq_no: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) ssrc: Ssrc,
}

/// The ids that were negotiated on a line for the extensions that are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids {
    mid: Option<u8>,
    audio_level: Option<u8>,
    playout_delay: Option<u8>,
    content_type: Option<u8>,
    capture_time: Option<u8>,
    dependency: Option<u8>,
    orientation: Option<u8>,
    needs_long_form: bool,
}

impl Ids {
    pub(super) fn new(negotiated: &ExtensionMap) -> Self {
        let id = |extension| negotiated.id_of(extension);
        let dependency = Extension::with_serializer(dependency::URI, dependency::Serializer);
        let ids = [
            id(Extension::RtpMid),
            id(Extension::AudioLevel),
            id(Extension::PlayoutDelay),
            id(Extension::VideoContentType),
            id(Extension::AbsoluteCaptureTime),
            id(dependency),
            id(Extension::VideoOrientation),
        ];
        let [
            mid,
            audio_level,
            playout_delay,
            content_type,
            capture_time,
            dependency,
            orientation,
        ] = ids;
        Self {
            mid,
            audio_level,
            playout_delay,
            content_type,
            capture_time,
            dependency,
            orientation,
            needs_long_form: ids.iter().flatten().any(|id| *id > SHORT_ID_MAX),
        }
    }
}

/// What is written into the extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// Until the viewer knows the SSRC.
    pub(super) mid: Option<Mid>,
    /// As they arrived from the publisher; `None` for a packet without a payload.
    pub(super) passed_on: Option<&'a ExtensionValues>,
    pub(super) dependency: Option<dependency::Edited<'a>>,
}

/// Appends a header and tells how long it is.
pub(super) fn write(buffer: &mut Vec<u8>, fixed: &Fixed, ids: &Ids, values: &Values<'_>) -> usize {
    let start = buffer.len();
    let marker = if fixed.marker { MARKER } else { 0 };
    buffer.extend_from_slice(&[2 << 6, marker | *fixed.pt & 0x7f]);
    buffer.extend_from_slice(&fixed.seq_no.to_be_bytes());
    buffer.extend_from_slice(&fixed.timestamp.to_be_bytes());
    buffer.extend_from_slice(&fixed.ssrc.to_be_bytes());

    let dependency = values.dependency.filter(|_| ids.dependency.is_some());
    let is_long = ids.needs_long_form
        || dependency.is_some_and(|dependency| dependency.written_bytes() > SHORT_BYTES_MAX);
    buffer.extend_from_slice(if is_long { &LONG_FORM } else { &SHORT_FORM });
    buffer.extend_from_slice(&[0, 0]);
    let elements = buffer.len();
    let mut writer = Writer { buffer, is_long };
    if let Some(mid) = values.mid {
        writer.write(ids.mid, mid.as_bytes());
    }
    if let Some(passed_on) = values.passed_on {
        writer.write_passed_on(ids, passed_on);
    }
    if let Some(dependency) = dependency {
        let target = writer.reserve(ids.dependency, dependency.written_bytes());
        if let Some(target) = target {
            dependency.write_to(target);
        }
    }
    if buffer.len() == elements {
        buffer.truncate(start + FIXED_BYTES);
        return FIXED_BYTES;
    }
    while !(buffer.len() - elements).is_multiple_of(4) {
        buffer.push(0);
    }
    let words = ((buffer.len() - elements) / 4) as u16;
    buffer[elements - 2..elements].copy_from_slice(&words.to_be_bytes());
    buffer[start] |= HAS_EXTENSIONS;
    buffer.len() - start
}

struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    is_long: bool,
}

impl Writer<'_> {
    fn write_passed_on(&mut self, ids: &Ids, values: &ExtensionValues) {
        if let (Some(level), Some(is_voice)) = (values.audio_level, values.voice_activity) {
            let voice = if is_voice { 0x80 } else { 0 };
            self.write(ids.audio_level, &[voice | level.unsigned_abs() & 0x7f]);
        }
        if let (Some(min), Some(max)) = (values.play_delay_min, values.play_delay_max) {
            // Hundredths of seconds, 12 bits each.
            let hundredths = |time: str0m::media::MediaTime| {
                let time = time.rebase(str0m::media::Frequency::HUNDREDTHS);
                (time.numer() & 0xfff) as u32
            };
            let both = hundredths(min) << 12 | hundredths(max);
            self.write(ids.playout_delay, &both.to_be_bytes()[1..]);
        }
        if let Some(content) = values.video_content_type {
            self.write(ids.content_type, &[content]);
        }
        if let Some(capture) = &values.abs_capture_time {
            let time = ntp(capture.capture_time).to_be_bytes();
            match capture.clock_offset {
                None => self.write(ids.capture_time, &time),
                Some(offset) => {
                    let mut both = [0; 16];
                    both[..8].copy_from_slice(&time);
                    both[8..].copy_from_slice(&offset.to_be_bytes());
                    self.write(ids.capture_time, &both);
                }
            }
        }
        if let Some(orientation) = values.video_orientation {
            self.write(ids.orientation, &[orientation as u8]);
        }
    }

    fn write(&mut self, id: Option<u8>, value: &[u8]) {
        if let Some(target) = self.reserve(id, value.len()) {
            target.copy_from_slice(value);
        }
    }

    /// Room for a value; `None` when the extension was not negotiated or nothing can be told.
    fn reserve(&mut self, id: Option<u8>, bytes: usize) -> Option<&mut [u8]> {
        let (id, count) = (id?, u8::try_from(bytes).ok().filter(|count| *count > 0)?);
        match self.is_long {
            true => self.buffer.extend_from_slice(&[id, count]),
            false if bytes <= SHORT_BYTES_MAX => self.buffer.push(id << 4 | (count - 1)),
            false => return None,
        }
        let start = self.buffer.len();
        self.buffer.resize(start + bytes, 0);
        self.buffer.get_mut(start..)
    }
}

/// A time as NTP writes it: seconds since 1900 and 32 bits of fraction (RFC 5905 section 6).
pub(super) fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().wrapping_add(NTP_EPOCH_SECONDS);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}
