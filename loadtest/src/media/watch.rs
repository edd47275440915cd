//! What one viewer makes of the packets it gets. It knows no clock and no network.

use std::collections::BTreeMap;
use std::time::Duration;

use super::camera::Counts;
use super::plan::LAYERS_MAX;
use super::tag::{Kind, Tag};
use super::tally::Tally;
use crate::measure::{Arrival, Track, record};

/// A longer gap between whole pictures is seen as a freeze.
pub const FREEZE: Duration = Duration::from_millis(200);

/// How long a picture may be incomplete before a decoder gives it up and asks for a keyframe.
const GIVE_UP: Duration = Duration::from_millis(500);

/// How long it waits before it asks again.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// What a publisher had sent when it stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How much.
    pub counts: Counts,
    /// When the last picture left, since the run began.
    pub last: Duration,
}

/// How evenly pictures or sound came.
#[derive(Debug, Default)]
struct Pace {
    transit_us: Option<f64>,
    jitter_us: f64,
}

/// Packets of a layer, from when a viewer was given it until it was given another; or of the sound.
#[derive(Debug)]
struct Stint {
    layer: u8,
    track: Track,
    /// The newest packet's number, picture and time of sending.
    number: u32,
    frame: u32,
    sent: Duration,
}

/// Which picture: they are in the order in which they were sent.
type Picture = (Duration, u32, u8);

/// One viewer.
#[derive(Debug)]
pub struct Watch {
    stream: u16,
    /// The last one of each layer, in the order they began.
    video: Vec<Stint>,
    audio: Option<Stint>,
    pace: Pace,
    /// What was lost of stints before these.
    lost_before: u64,
    /// When the first part came of pictures that are not whole, and how many parts.
    pending: BTreeMap<Picture, (Duration, u16)>,
    /// Up to here pictures that are not whole are given up.
    given_up: Option<Picture>,
    asked: Option<Duration>,
    /// Pictures that should have come so far.
    expected: u64,
    whole: u64,
    last_whole: Option<Duration>,
    has_keyframe: bool,
}

impl Watch {
    /// A viewer of a stream.
    #[must_use]
    pub fn new(stream: u16) -> Self {
        Self {
            stream,
            video: Vec::with_capacity(LAYERS_MAX),
            audio: None,
            pace: Pace::default(),
            lost_before: 0,
            pending: BTreeMap::new(),
            given_up: None,
            asked: None,
            expected: 0,
            whole: 0,
            last_whole: None,
            has_keyframe: false,
        }
    }

    /// Whether a whole keyframe has come.
    #[must_use]
    pub fn has_keyframe(&self) -> bool {
        self.has_keyframe
    }

    /// Notes a packet that came at `now`, since the run began; tells whether it was the end of the first whole keyframe.
    pub fn packet(&mut self, now: Duration, tag: &Tag, bytes: usize, tally: &mut Tally) -> bool {
        if tag.stream != self.stream {
            tally.strays += 1;
            return false;
        }
        let is_audio = tag.kind == Kind::Audio;
        let arrival = if is_audio {
            let stint = self.audio.get_or_insert_with(|| Stint::starting(tag));
            stint.arrive(tag)
        } else {
            self.picture_packet(tag, tally)
        };
        if arrival == Arrival::New && !is_audio {
            self.pace.arrive(now, tag);
        }
        tally.received += 1;
        tally.bytes += bytes as u64;
        match arrival {
            Arrival::New => {}
            Arrival::Late => tally.reordered += 1,
            Arrival::Repeated => {
                tally.duplicated += 1;
                return false;
            }
        }
        record(&mut tally.latency, now.saturating_sub(tag.sent));
        !is_audio && self.part(now, tag, tally)
    }

    /// Notes a packet of a picture in the stint that it belongs to, which may begin with it.
    fn picture_packet(&mut self, tag: &Tag, tally: &mut Tally) -> Arrival {
        let current = self.video.last().map(|stint| stint.sent);
        let of_layer = self.video.iter().position(|stint| stint.layer == tag.layer);
        if let Some(index) = of_layer {
            let stint = &mut self.video[index];
            // What comes of a layer that was left, and was sent before another took its place, was under way meanwhile.
            let is_late = tag.sent <= stint.sent || current.is_some_and(|sent| tag.sent < sent);
            let (before, is_current) = (stint.frame, index + 1 == self.video.len());
            if is_current || is_late {
                let stint = &mut self.video[index];
                let arrival = stint.arrive(tag);
                self.expected += u64::from(stint.frame - before);
                return arrival;
            }
            let left = self.video.remove(index);
            self.lost_before += left.missing(left.number);
        }
        tally.layer_switches += u64::from(current.is_some());
        let mut stint = Stint::starting(tag);
        let arrival = stint.arrive(tag);
        self.expected += 1;
        self.video.push(stint);
        arrival
    }

    /// Notes part of a picture.
    fn part(&mut self, now: Duration, tag: &Tag, tally: &mut Tally) -> bool {
        let picture = (tag.sent, tag.frame, tag.layer);
        if Some(picture) <= self.given_up {
            return false;
        }
        let (_, parts) = self.pending.entry(picture).or_insert((now, 0));
        *parts += 1;
        if *parts < tag.parts {
            return false;
        }
        self.pending.remove(&picture);
        self.whole += 1;
        tally.frames += 1;
        self.gap(now, tally);
        let is_first = tag.kind == Kind::Key && !self.has_keyframe;
        self.has_keyframe |= is_first;
        is_first
    }

    /// Whether a decoder would ask for a keyframe now: it gave up a picture that others need.
    pub fn wants_keyframe(&mut self, now: Duration) -> bool {
        let mut has_given_up = false;
        while let Some(oldest) = self.pending.first_entry()
            && oldest.get().0 + GIVE_UP < now
        {
            let picture = *oldest.key();
            oldest.remove();
            self.given_up = Some(picture);
            // Nothing that comes of another layer needs it.
            has_given_up |= self
                .video
                .last()
                .is_some_and(|stint| stint.layer == picture.2);
        }
        let may_ask = self.asked.is_none_or(|asked| asked + ASK_INTERVAL < now);
        // Without a keyframe everything that comes is of no use.
        let is_blind = !self.has_keyframe && self.given_up.is_some();
        let asks = may_ask && (has_given_up || is_blind);
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    fn gap(&mut self, now: Duration, tally: &mut Tally) {
        let since = self.last_whole.replace(now);
        let gap = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if gap > FREEZE {
            record(&mut tally.freezes, gap);
        }
    }

    /// The publisher has stopped and nothing is under way any more: judges what never came.
    pub fn finish(&mut self, sent: &Sent, tally: &mut Tally) {
        let counts = &sent.counts;
        if let Some(stint) = &self.audio {
            tally.lost += stint.missing(counts.audio);
        }
        let Some((current, left)) = self.video.split_last() else {
            return;
        };
        // Of a layer that was left, what came after its last packet was not meant for this viewer.
        tally.lost += left
            .iter()
            .map(|stint| stint.missing(stint.number))
            .sum::<u64>();
        let layer = usize::from(current.layer).min(LAYERS_MAX - 1);
        tally.lost += self.lost_before + current.missing(counts.video[layer]);
        let expected = counts.frames[layer].saturating_sub(current.frame);
        let expected = self.expected + u64::from(expected);
        tally.broken_frames += expected.saturating_sub(self.whole);
        // Who got nothing more until the end froze until the end.
        if self.last_whole.is_some_and(|last| last < sent.last) {
            self.gap(sent.last, tally);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and a time of this run"
        )]
        let jitter = self.pace.jitter_us.round() as u64;
        record(&mut tally.jitter, Duration::from_micros(jitter));
    }
}

impl Stint {
    /// Of the packets from this one's picture on.
    fn starting(tag: &Tag) -> Self {
        // Where the first part of a picture is overtaken, the picture still begins with it.
        let before = u64::from(tag.number).saturating_sub(u64::from(tag.part) + 1);
        Self {
            layer: tag.layer,
            track: Track::starting("", before),
            number: tag.number,
            frame: tag.frame,
            sent: tag.sent,
        }
    }

    fn arrive(&mut self, tag: &Tag) -> Arrival {
        self.number = self.number.max(tag.number);
        self.frame = self.frame.max(tag.frame);
        self.sent = self.sent.max(tag.sent);
        self.track.arrive(u64::from(tag.number))
    }

    fn missing(&self, last: u32) -> u64 {
        self.track.missing(u64::from(last))
    }
}

impl Pace {
    /// Notes a packet that came in its turn: a repaired one says how long the repair took, not how even the way is.
    fn arrive(&mut self, now: Duration, tag: &Tag) {
        let transit_us = (now.as_secs_f64() - tag.sent.as_secs_f64()) * 1e6;
        if let Some(before) = self.transit_us.replace(transit_us) {
            self.jitter_us += ((transit_us - before).abs() - self.jitter_us) / 16.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::camera::Camera;
    use crate::media::plan::Streams;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What a camera sends in so many milliseconds, and what it had sent then.
    fn film(until: u64) -> (Vec<Tag>, Sent) {
        let streams = Streams {
            keyframe_interval: ms(2_000),
            ..Streams::default()
        };
        film_of(&streams, until)
    }

    fn film_of(streams: &Streams, until: u64) -> (Vec<Tag>, Sent) {
        let mut camera = Camera::new(streams, 3, 1, Duration::ZERO);
        let mut tags = Vec::new();
        let mut last = Duration::ZERO;
        for now in 0..until {
            camera.shoot(ms(now), |packet| {
                tags.push(Tag::read(&packet.payload).expect("a tag"));
                if !packet.is_audio {
                    last = ms(now);
                }
            });
        }
        let counts = camera.sent();
        let sent = Sent { counts, last };
        (tags, sent)
    }

    /// Lets them come after a delay, those that are not dropped.
    fn watch(tags: &[Tag], sent: &Sent, delay: impl Fn(&Tag) -> Option<Duration>) -> Tally {
        let mut arrivals: Vec<_> = tags
            .iter()
            .filter_map(|tag| Some((tag.sent + delay(tag)?, tag)))
            .collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let mut tally = Tally::default();
        let mut watch = Watch::new(3);
        for (at, tag) in arrivals {
            watch.packet(at, tag, 1_000, &mut tally);
        }
        watch.finish(sent, &mut tally);
        tally
    }

    #[test]
    fn nothing_is_reported_where_nothing_happened() {
        let (tags, sent) = film(10_000);
        let tally = watch(&tags, &sent, |_| Some(ms(5)));
        assert_eq!(tally.received, tags.len() as u64);
        assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0));
        assert_eq!(
            (tally.frames, tally.broken_frames),
            (sent.counts.frames[0].into(), 0)
        );
        assert_eq!(tally.freezes.len(), 0);
        assert!(tally.jitter.max() <= 1, "{}", tally.jitter.max());
    }

    #[test]
    fn a_delay_is_reported_as_it_is() {
        let (tags, sent) = film(5_000);
        let tally = watch(&tags, &sent, |_| Some(ms(50)));
        // The histogram knows three digits.
        assert!((49_950..50_050).contains(&tally.latency.min()));
        assert!((49_950..50_050).contains(&tally.latency.max()));
    }

    #[test]
    fn every_hundredth_packet_dropped_is_a_loss_of_one_percent() {
        let (tags, sent) = film(20_000);
        let drops = |tag: &Tag| tag.number % 100 == 50;
        let dropped = tags.iter().filter(|tag| drops(tag)).count() as u64;
        let tally = watch(&tags, &sent, |tag| (!drops(tag)).then_some(ms(5)));
        assert_eq!(tally.lost, dropped);
        assert_eq!(tally.lost + tally.received, tags.len() as u64);
        assert!(tally.broken_frames > 0);
        assert_eq!(
            tally.frames + tally.broken_frames,
            u64::from(sent.counts.frames[0]),
            "whole and broken pictures are all there were"
        );
    }

    #[test]
    fn a_second_without_packets_is_one_freeze_of_a_second() {
        let (tags, sent) = film(6_000);
        // Held up from 3 s to 4 s, as behind a handover.
        let tally = watch(&tags, &sent, |tag| {
            let held = (ms(3_000)..ms(4_000)).contains(&tag.sent);
            Some(if held { ms(4_000) - tag.sent } else { ms(0) })
        });
        assert_eq!(tally.lost, 0);
        assert_eq!(tally.freezes.len(), 1);
        let frozen = tally.freezes.max();
        assert!((980_000..1_050_000).contains(&frozen), "{frozen} us");
    }

    #[test]
    fn a_viewer_that_gets_nothing_more_froze_until_the_end_and_lost_the_rest() {
        let (tags, sent) = film(6_000);
        let tally = watch(&tags, &sent, |tag| (tag.sent < ms(2_000)).then_some(ms(5)));
        assert_eq!(tally.freezes.len(), 1);
        assert!((3_900_000..4_100_000).contains(&tally.freezes.max()));
        let late = tags.iter().filter(|tag| tag.sent >= ms(2_000)).count();
        assert_eq!(tally.lost, late as u64);
    }

    #[test]
    fn what_came_before_a_viewer_did_is_not_its_loss() {
        let (tags, sent) = film(6_000);
        let tally = watch(&tags, &sent, |tag| (tag.sent >= ms(4_000)).then_some(ms(5)));
        assert_eq!((tally.lost, tally.broken_frames), (0, 0));
    }

    #[test]
    fn overtaken_repeated_and_foreign_packets_are_each_told() {
        let (tags, sent) = film(1_000);
        let late = |tag: &Tag| tag.kind == Kind::Delta && tag.frame == 10 && tag.part == 0;
        let tally = watch(&tags, &sent, |tag| {
            Some(if late(tag) { ms(90) } else { ms(5) })
        });
        assert_eq!(
            (tally.reordered, tally.lost, tally.broken_frames),
            (1, 0, 0)
        );

        let mut tally = Tally::default();
        let mut watch = Watch::new(3);
        watch.packet(ms(5), &tags[0], 1_000, &mut tally);
        watch.packet(ms(6), &tags[0], 1_000, &mut tally);
        let foreign = Tag {
            stream: 4,
            ..tags[0]
        };
        watch.packet(ms(7), &foreign, 1_000, &mut tally);
        assert_eq!(
            (tally.duplicated, tally.strays, tally.latency.len()),
            (1, 1, 1)
        );
    }

    #[test]
    fn a_picture_that_stays_broken_is_given_up_once_and_a_keyframe_asked_for() {
        let (tags, sent) = film(4_000);
        let mut tally = Tally::default();
        let mut watch = Watch::new(3);
        let mut asked = Vec::new();
        for tag in &tags {
            // One packet is lost for good.
            if (tag.frame, tag.part) == (30, 0) && tag.kind != Kind::Audio {
                continue;
            }
            watch.packet(tag.sent, tag, 1_000, &mut tally);
            if watch.wants_keyframe(tag.sent) {
                asked.push(tag.sent);
            }
        }
        watch.finish(&sent, &mut tally);
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!((ms(1_450)..ms(1_550)).contains(&asked[0]), "{asked:?}");
        assert_eq!((tally.lost, tally.broken_frames), (1, 1));
    }

    #[test]
    fn a_viewer_whose_first_keyframe_broke_asks_until_it_has_one() {
        let (tags, _) = film(1_900);
        let mut tally = Tally::default();
        let mut watch = Watch::new(3);
        let mut asked = 0;
        for tag in tags
            .iter()
            .filter(|tag| tag.kind != Kind::Key || tag.part > 0)
        {
            assert!(!watch.packet(tag.sent, tag, 1_000, &mut tally));
            asked += u32::from(watch.wants_keyframe(tag.sent));
        }
        assert_eq!(asked, 2, "after half a second, and a second later");
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let (tags, sent) = film(20_000);
        // Delays that alternate between 0 and 16 ms differ by 16 ms each time, whichever estimator.
        let tally = watch(&tags, &sent, |tag| {
            Some(if tag.frame % 2 == 0 { ms(16) } else { ms(0) })
        });
        let packets_per_picture = sent.counts.video[0] as f64 / f64::from(sent.counts.frames[0]);
        let expected = 16_000.0 / packets_per_picture;
        let jitter = tally.jitter.max() as f64;
        assert!((0.5..1.5).contains(&(jitter / expected)), "{jitter} us");
    }

    /// Three layers of which a viewer gets the top one, then the lowest from 2 s on, and the top one again from 4 s on.
    fn switched() -> (Vec<Tag>, Sent) {
        let streams = Streams {
            keyframe_interval: ms(2_000),
            layers: 3,
            ..Streams::default()
        };
        let (mut tags, sent) = film_of(&streams, 6_000);
        tags.retain(|tag| {
            let is_low = (ms(2_000)..ms(4_000)).contains(&tag.sent);
            tag.kind == Kind::Audio || tag.layer == if is_low { 0 } else { 2 }
        });
        (tags, sent)
    }

    #[test]
    fn layers_that_follow_each_other_are_switches_and_nothing_else() {
        let (tags, sent) = switched();
        let tally = watch(&tags, &sent, |_| Some(ms(5)));
        assert_eq!(tally.layer_switches, 2);
        assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0));
        assert_eq!((tally.broken_frames, tally.freezes.len()), (0, 0));
        assert_eq!(tally.received, tags.len() as u64);
    }

    #[test]
    fn losses_are_told_of_every_layer_that_was_given() {
        let (tags, sent) = switched();
        let drops = |tag: &Tag| tag.kind != Kind::Audio && tag.part == 0 && tag.frame % 20 == 10;
        let dropped: Vec<_> = tags.iter().filter(|tag| drops(tag)).collect();
        assert!(dropped.iter().any(|tag| tag.layer == 0));
        let tally = watch(&tags, &sent, |tag| (!drops(tag)).then_some(ms(5)));
        assert_eq!(tally.lost, dropped.len() as u64);
        assert_eq!(tally.broken_frames, dropped.len() as u64);
        assert_eq!(tally.layer_switches, 2);
    }

    #[test]
    fn a_packet_of_the_layer_before_that_comes_late_is_no_switch() {
        let (tags, sent) = switched();
        let last = |tag: &Tag| tag.layer == 2 && tag.sent < ms(2_000) && tag.sent > ms(1_950);
        let tally = watch(&tags, &sent, |tag| {
            Some(if last(tag) && tag.part > 0 {
                ms(90)
            } else {
                ms(5)
            })
        });
        assert_eq!(tally.layer_switches, 2);
        assert_eq!((tally.lost, tally.broken_frames), (0, 0));
    }
}
