//! What leaves towards viewers, as the network sees it.

use std::collections::HashSet;
use std::time::Duration;

use redred_sfu::event::Codec;
use redred_sfu::id::ShardId;
use redred_sfu::sim::{NetemConfig, Probability, Publishing, RandomLoss, Sim, Watching};

const HOME: ShardId = ShardId(0);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a nonce is made of besides the key, for RTP as far as the wire shows it: SSRC and number, and for RTCP the index.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Nonce {
    Rtp(u32, u16),
    Rtcp(u32),
}

fn nonce(datagram: &[u8]) -> Option<Nonce> {
    let word = |at: usize| {
        let bytes = datagram.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes))
    };
    match datagram {
        [128..=191, 192..=223, ..] => Some(Nonce::Rtcp(word(datagram.len() - 4)?)),
        [128..=191, ..] => Some(Nonce::Rtp(word(8)?, word(0)? as u16)),
        _ => None,
    }
}

#[test]
fn no_nonce_comes_twice_whatever_is_lost_and_switched() {
    let mut sim = Sim::new(3, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    let viewer = sim.watch(stream, HOME, Watching::default());
    let lossy = || NetemConfig::new().loss(RandomLoss::new(Probability::new(0.05)));
    sim.link(publisher, lossy(), NetemConfig::new());
    sim.link(viewer, NetemConfig::new(), lossy());
    sim.record(viewer);
    sim.run(seconds(10));
    sim.vanish(publisher);
    sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    sim.run(seconds(10));
    let mut seen = HashSet::new();
    let (mut reports, mut ssrcs) = (0, HashSet::new());
    for datagram in sim.recorded(viewer) {
        let Some(nonce) = nonce(datagram) else {
            continue;
        };
        match nonce {
            Nonce::Rtp(ssrc, _) => _ = ssrcs.insert(ssrc),
            Nonce::Rtcp(_) => reports += 1,
        }
        assert!(seen.insert(nonce), "{sim:?}: a nonce came twice");
    }
    assert!((15..25).contains(&reports), "{sim:?}: {reports} reports");
    assert_eq!(ssrcs.len(), 3, "sound, pictures and their repairs");
    let repeats = sim.stats(HOME).repeats;
    assert!(repeats.sent > 20, "{sim:?}: {repeats:?}");
}
