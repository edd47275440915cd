//! Offers, answers and patches, good ones and others.

use std::net::SocketAddr;
use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{CloseReason, Codec, Command, Refusal, Selection};
use redred_sfu::id::{PeerKey, ShardId, StreamKey};
use redred_sfu::sim::{Publishing, Sim, Watching};
use str0m::media::{Direction, MediaKind};
use str0m::{Candidate, Rtc, RtcConfig};

const HOME: ShardId = ShardId(0);
/// A key that the simulation gives to nobody in these tests.
const KEY: PeerKey = PeerKey(1_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refusals(sim: &Sim, peer: PeerKey) -> Vec<Refusal> {
    let refused = sim.events().filter_map(|event| {
        let Event::Refused { peer: key, refusal } = event else {
            return None;
        };
        (*key == peer).then(|| refusal.clone())
    });
    refused.collect()
}

fn answer(sim: &Sim, peer: PeerKey) -> Option<String> {
    let answers = sim.events().filter_map(|event| {
        let Event::Answer { peer: key, sdp } = event else {
            return None;
        };
        (*key == peer).then(|| sdp.clone())
    });
    answers.last()
}

/// What a client writes that sends or receives these kinds.
fn offer(sim: &Sim, config: RtcConfig, direction: Direction, kinds: &[MediaKind]) -> String {
    let mut rtc: Rtc = config.build(sim.now());
    let address = SocketAddr::from(([10, 9, 9, 9], 9_000));
    rtc.add_local_candidate(Candidate::host(address, "udp").expect("a good address"));
    let mut change = rtc.sdp_api();
    for kind in kinds {
        change.add_media(*kind, direction, None, None, None);
    }
    let (offer, _) = change.apply().expect("media was added");
    offer.to_sdp_string()
}

fn publish(sim: &mut Sim, stream: StreamKey, offer: &str) {
    let command = Command::Publish {
        peer: KEY,
        stream,
        offer: offer.to_owned(),
    };
    sim.command(HOME, command);
}

#[test]
fn what_is_no_offer_is_refused_and_leaves_nothing() {
    let mut sim = Sim::new(1, 1);
    let stream = sim.open();
    let held = sim.held(HOME);
    let good = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Video],
    );
    let cut = &good[..good.len() / 2];
    let no_fingerprint: String = good
        .lines()
        .filter(|line| !line.starts_with("a=fingerprint"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let md5 = good.replace("a=fingerprint:sha-256", "a=fingerprint:md5");
    let no_ice = good.replace("a=ice-", "a=nice-");
    let no_mid = good.replace("a=mid:", "a=middle:");
    let texts = [
        "",
        "v=0",
        "rubbish",
        "\0\u{ffff}",
        "m=video",
        "v=0\r\nm=video 9 X 96\r\n",
        cut,
        &no_fingerprint,
        &md5,
        &no_ice,
        &no_mid,
    ];
    for (number, text) in texts.iter().enumerate() {
        publish(&mut sim, stream, text);
        let refused = refusals(&sim, KEY);
        assert_eq!(refused.len(), number + 1, "{text:?} was not refused");
        assert!(
            matches!(refused[number], Refusal::InvalidSdp(_)),
            "{text:?}: {:?}",
            refused[number]
        );
    }
    assert_eq!(sim.held(HOME), held, "{sim:?}");
    // The key is free for a better one.
    publish(&mut sim, stream, &good);
    assert!(answer(&sim, KEY).is_some(), "{sim:?}");
}

#[test]
fn offers_beyond_the_limits_are_refused() {
    let mut sim = Sim::with_config(2, 1, |config| config.peers_max = 1);
    let stream = sim.open();
    let good = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Video],
    );
    publish(
        &mut sim,
        stream,
        &format!("{good}{}", "a=x\r\n".repeat(20_000)),
    );
    let lines = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Audio; 17],
    );
    publish(&mut sim, stream, &lines);
    sim.publish(stream, Publishing::default());
    publish(&mut sim, stream, &good);
    let expected = ["bytes of SDP", "media lines", "peers"].map(Refusal::Limit);
    assert_eq!(refusals(&sim, KEY), expected, "{sim:?}");
}

#[test]
fn no_codec_in_common_is_told_with_what_was_offered() {
    let mut sim = Sim::new(3, 1);
    let stream = sim.open();
    let strange = Rtc::builder().clear_codecs().enable_h265(true);
    let strange = offer(&sim, strange, Direction::SendOnly, &[MediaKind::Video]);
    publish(&mut sim, stream, &strange);
    let refused = refusals(&sim, KEY);
    assert!(
        matches!(&refused[..], [Refusal::NoCommonCodec(told)] if told.contains("H265")),
        "{refused:?}"
    );
}

#[test]
fn a_whep_viewer_who_would_see_black_is_refused() {
    let mut sim = Sim::new(4, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::of(Codec::H264));
    sim.run(seconds(1));
    let watching = Watching {
        codecs: vec![Codec::Opus, Codec::Vp8],
        offers: true,
        ..Watching::default()
    };
    let viewer = sim.watch(stream, HOME, watching);
    let refused = refusals(&sim, viewer);
    assert!(
        matches!(&refused[..], [Refusal::NoCommonCodec(_)]),
        "{refused:?}"
    );
    assert_eq!(sim.stats(HOME).sessions.viewers, 0, "{sim:?}");
}

#[test]
fn a_whep_viewer_of_sound_gets_the_pictures_that_come_later() {
    let mut sim = Sim::new(5, 1);
    let stream = sim.open();
    let sound = Publishing {
        video: None,
        ..Publishing::default()
    };
    sim.publish(stream, sound);
    let watching = Watching {
        offers: true,
        ..Watching::default()
    };
    let viewer = sim.watch(stream, HOME, watching);
    sim.run(seconds(2));
    assert!(!sim.received(viewer).is_empty(), "{sim:?}");
    sim.publish(stream, Publishing::default());
    sim.run(seconds(3));
    assert!(sim.viewing(viewer).frames.len() > 50, "{sim:?}");
    let offered = |event: &Event| matches!(event, Event::Offer { .. });
    assert!(
        !sim.events().any(offered),
        "{sim:?}: WHEP knows no offers of ours"
    );
}

#[test]
fn an_answer_keeps_the_order_of_the_offer_and_says_where_we_are() {
    let mut sim = Sim::new(6, 1);
    let stream = sim.open();
    let config = Rtc::builder()
        .clear_codecs()
        .enable_av1(true)
        .enable_h264(true)
        .enable_vp8(true);
    let offered = offer(&sim, config, Direction::SendOnly, &[MediaKind::Video]);
    publish(&mut sim, stream, &offered);
    let answer = answer(&sim, KEY).expect("a good offer");
    let types = |sdp: &str| {
        let line = sdp.lines().find(|line| line.starts_with("m=video"));
        line.unwrap()
            .split(' ')
            .skip(3)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let order = types(&offered);
    let mut last = None;
    for pt in types(&answer) {
        let place = order.iter().position(|offered| *offered == pt);
        assert!(place.is_some() && place >= last, "{order:?}\n{answer}");
        last = place;
    }
    let address = sim.address(HOME);
    let candidate = format!("{} {} typ host", address.ip(), address.port());
    assert!(answer.contains(&candidate), "{answer}");
    assert!(answer.contains("a=end-of-candidates\r\n"), "{answer}");
    assert!(answer.contains("a=ice-lite\r\n"), "{answer}");
    assert!(answer.contains("a=recvonly\r\n"), "{answer}");
    assert!(answer.contains("transport-cc"), "{answer}");
}

#[test]
fn the_tracks_of_a_viewer_are_one_media_stream() {
    let mut sim = Sim::new(7, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    for offers in [false, true] {
        let watching = Watching {
            offers,
            ..Watching::default()
        };
        let viewer = sim.watch(stream, HOME, watching);
        let ours = sim.events().find_map(|event| {
            let (Event::Offer { peer, sdp } | Event::Answer { peer, sdp }) = event else {
                return None;
            };
            (*peer == viewer).then_some(sdp)
        });
        let streams: Vec<&str> = ours
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("a=msid:")?.split(' ').next())
            .collect();
        assert_eq!(streams.len(), 2, "{sim:?}");
        assert_eq!(streams[0], streams[1], "{sim:?}");
    }
}

#[test]
fn what_comes_out_of_order_is_refused() {
    let mut sim = Sim::new(8, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(1));
    let good = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Video],
    );
    let sdp = || good.clone();
    let out_of_order = [
        (
            publisher,
            Command::Answer {
                peer: publisher,
                sdp: sdp(),
            },
        ),
        (
            viewer,
            Command::Answer {
                peer: viewer,
                sdp: sdp(),
            },
        ),
        (
            viewer,
            Command::Offer {
                peer: viewer,
                sdp: sdp(),
            },
        ),
        (
            publisher,
            Command::Publish {
                peer: publisher,
                stream,
                offer: sdp(),
            },
        ),
        (
            publisher,
            Command::Select {
                peer: publisher,
                selection: Selection::default(),
            },
        ),
    ];
    for (peer, command) in out_of_order {
        let before = refusals(&sim, peer).len();
        sim.command(HOME, command.clone());
        let refused = refusals(&sim, peer);
        assert_eq!(refused.len(), before + 1, "{command:?}");
        assert!(
            matches!(refused[before], Refusal::OutOfOrder(_)),
            "{refused:?}"
        );
    }
    let unknown = [
        Command::Answer {
            peer: KEY,
            sdp: sdp(),
        },
        Command::Offer {
            peer: KEY,
            sdp: sdp(),
        },
        Command::Candidate {
            peer: KEY,
            candidate: String::new(),
        },
        Command::Patch {
            peer: KEY,
            fragment: "a=end-of-candidates".into(),
        },
        Command::Select {
            peer: KEY,
            selection: Selection::default(),
        },
        Command::Publish {
            peer: KEY,
            stream: StreamKey(99),
            offer: sdp(),
        },
        Command::Watch {
            peer: KEY,
            stream: StreamKey(99),
            offer: None,
            selection: Selection::default(),
        },
    ];
    let count = unknown.len();
    for command in unknown {
        sim.command(HOME, command);
    }
    assert_eq!(
        refusals(&sim, KEY),
        vec![Refusal::Unknown; count],
        "{sim:?}"
    );
    // None of it has disturbed anybody.
    sim.run(seconds(2));
    assert!(sim.viewing(viewer).frames.len() > 50, "{sim:?}");
}

#[test]
fn a_fingerprint_that_cannot_be_verified_is_refused_by_name_and_another_one_beside_it_is_used() {
    let mut sim = Sim::new(11, 1);
    let stream = sim.open();
    let good = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Video],
    );
    let line = good.lines().find(|line| line.starts_with("a=fingerprint:"));
    let line = line.expect("every offer has one").to_owned();
    for strange in ["md5", "sha-512", "rot13"] {
        let before = refusals(&sim, KEY).len();
        publish(&mut sim, stream, &good.replace("sha-256", strange));
        let refused = refusals(&sim, KEY);
        assert!(
            matches!(&refused[before..], [Refusal::InvalidSdp(told)] if told.contains("sha-256")),
            "{strange}: {refused:?}"
        );
    }
    let beside = format!("a=fingerprint:md5 00:11\r\n{line}");
    publish(&mut sim, stream, &good.replace(&line, &beside));
    assert!(answer(&sim, KEY).is_some(), "{:?}", refusals(&sim, KEY));
}

#[test]
fn an_answer_that_does_not_fit_the_offer_ends_the_viewer_with_a_reason() {
    let mut sim = Sim::new(12, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    let bystander = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(1));
    let held = sim.held(HOME);
    let answer = answer_of_a_stranger(&mut sim, stream);
    let (head, rest) = answer.split_once("m=audio").expect("sound is offered");
    let lite = format!("{head}a=ice-lite\r\nm=audio{rest}");
    let command = Command::Answer {
        peer: KEY,
        sdp: lite,
    };
    sim.command(HOME, command);
    let refused = refusals(&sim, KEY);
    assert!(
        matches!(refused[..], [Refusal::InvalidSdp(_)]),
        "{refused:?}"
    );
    let closed = Event::Closed {
        peer: KEY,
        reason: CloseReason::BadAnswer,
    };
    assert_eq!(sim.events().filter(|event| **event == closed).count(), 1);
    assert_eq!(sim.held(HOME), held, "{sim:?}: it left something behind");
    sim.run(seconds(1));
    assert!(sim.viewing(bystander).frames.len() > 30, "{sim:?}");
}

/// Lets somebody watch whom the simulation does not know, and writes the answer to what is offered.
fn answer_of_a_stranger(sim: &mut Sim, stream: StreamKey) -> String {
    let command = Command::Watch {
        peer: KEY,
        stream,
        offer: None,
        selection: Selection::default(),
    };
    sim.command(HOME, command);
    let offered = sim.events().find_map(|event| {
        let Event::Offer { peer, sdp } = event else {
            return None;
        };
        (*peer == KEY).then(|| sdp.clone())
    });
    let offered = str0m::change::SdpOffer::from_sdp_string(&offered.expect("is offered to"));
    let mut rtc: Rtc = Rtc::builder().build(sim.now());
    let answer = rtc.sdp_api().accept_offer(offered.expect("parses"));
    answer.expect("is a fair offer").to_sdp_string()
}

#[test]
fn a_malformed_answer_can_be_followed_by_a_good_one() {
    let mut sim = Sim::new(9, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    sim.run(seconds(1));
    let answer = answer_of_a_stranger(&mut sim, stream);
    let give = |sim: &mut Sim, sdp: &str| {
        let sdp = sdp.to_owned();
        sim.command(HOME, Command::Answer { peer: KEY, sdp });
        refusals(sim, KEY).len()
    };
    assert_eq!(give(&mut sim, "rubbish"), 1);
    let unverifiable = answer.replace("sha-256", "md5");
    assert_eq!(give(&mut sim, &unverifiable), 2);
    assert_eq!(give(&mut sim, &answer), 2, "{:?}", refusals(&sim, KEY));
    assert_eq!(give(&mut sim, &answer), 3, "answered twice");
}

#[test]
fn a_patch_restarts_ice_when_the_credentials_are_new() {
    let mut sim = Sim::new(10, 1);
    let stream = sim.open();
    let offered = offer(
        &sim,
        Rtc::builder(),
        Direction::SendOnly,
        &[MediaKind::Audio],
    );
    publish(&mut sim, stream, &offered);
    let ufrag = |sdp: &str| {
        let mut lines = sdp.lines();
        let line = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        line.map(str::to_owned)
    };
    let first = ufrag(&answer(&sim, KEY).unwrap());
    let patch = |sim: &mut Sim, fragment: &str| {
        let fragment = fragment.to_owned();
        sim.command(
            HOME,
            Command::Patch {
                peer: KEY,
                fragment,
            },
        );
        sim.events().last().cloned().unwrap()
    };
    let trickled = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 x.local 9 typ host\r\na=end-of-candidates\r\n";
    let accepted = Event::Patched {
        peer: KEY,
        fragment: None,
    };
    assert_eq!(patch(&mut sim, trickled), accepted);

    let restart = "a=ice-ufrag:NewU\r\na=ice-pwd:0123456789abcdefghijklmn\r\n";
    let Event::Patched { fragment, .. } = patch(&mut sim, restart) else {
        panic!("{sim:?}: not patched");
    };
    let fragment = fragment.expect("an ICE restart is answered");
    let second = ufrag(&fragment);
    assert!(second.is_some() && second != first, "{fragment}");
    assert!(fragment.contains("a=ice-pwd:"), "{fragment}");
    assert!(fragment.contains("a=candidate:"), "{fragment}");
    assert_eq!(
        patch(&mut sim, restart),
        accepted,
        "the same again is no restart"
    );

    for bad in [
        "",
        "rubbish",
        "a=ice-ufrag:a\r\na=ice-pwd:b\r\n",
        "a=ice-ufrag:Some\r\na=ice-pwd:has spaces in it, several\r\n",
    ] {
        let event = patch(&mut sim, bad);
        assert!(matches!(event, Event::Refused { .. }), "{bad:?}: {event:?}");
    }
}
