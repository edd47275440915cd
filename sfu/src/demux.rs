//! Hot path. Which peer a datagram is for.
//!
//! An address belongs to a peer once a STUN request from it, signed with that peer's password, was answered. Everything
//! but STUN is taken from such addresses only: str0m would accept DTLS from anybody, so this is the barrier that keeps
//! strangers out of a session that is being set up. STUN is told by the user name it carries, whose first half is a
//! fragment we made up.
//!
//! ```text
//!   first byte (RFC 7983)    0-3 STUN    20-63 DTLS    128-191 RTP, RTCP
//! ```
//!
//! Nothing here allocates for a datagram from a stranger. Both maps are bounded: two fragments (one of them from before
//! an ICE restart) and [`ADDRESSES_MAX`] addresses per peer.

use std::collections::HashMap;
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::id::PeerId;

/// Verified addresses of one peer. Safari sends from several pairs, a moving phone gathers more; the oldest goes first.
const ADDRESSES_MAX: usize = 8;

/// What a first byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Stun,
    Dtls,
    Rtp,
}

/// Tells the protocols of RFC 7983 apart that are spoken here.
pub(crate) fn protocol(datagram: &[u8]) -> Option<Protocol> {
    match datagram.first()? {
        0..=3 if datagram.len() >= STUN_HEADER_BYTES => Some(Protocol::Stun),
        20..=63 => Some(Protocol::Dtls),
        128..=191 if datagram.len() > 8 => Some(Protocol::Rtp),
        _ => None,
    }
}

const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const STUN_USERNAME: [u8; 2] = [0x00, 0x06];

/// The fragment that names us in a STUN binding request: what stands before the colon of USERNAME (RFC 8445
/// section 7.2.2). Anything else gives `None`; an ICE-lite server has asked nothing, so it awaits no responses.
pub(crate) fn stun_ufrag(datagram: &[u8]) -> Option<&str> {
    let (header, mut rest) = datagram.split_at_checked(STUN_HEADER_BYTES)?;
    if header[..2] != STUN_BINDING_REQUEST || header[4..8] != STUN_COOKIE {
        return None;
    }
    while let Some(([t0, t1, l0, l1], body)) = rest.split_first_chunk::<4>() {
        let bytes = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = body.get(..bytes)?;
        if [*t0, *t1] == STUN_USERNAME {
            let username = std::str::from_utf8(value).ok()?;
            return username.split_once(':').map(|(local, _)| local);
        }
        rest = body.get(bytes.next_multiple_of(4)..)?;
    }
    None
}

/// The addresses and fragments of a shard's peers.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    addresses: HashMap<SocketAddr, PeerId>,
    ufrags: HashMap<String, PeerId>,
}

/// What one peer holds in the maps.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    addresses: SmallVec<[SocketAddr; 2]>,
    ufrags: SmallVec<[String; 1]>,
}

impl Demux {
    /// The peer that ICE has verified at an address.
    pub(crate) fn by_address(&self, source: SocketAddr) -> Option<PeerId> {
        self.addresses.get(&source).copied()
    }

    /// The peer that was given a fragment.
    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<PeerId> {
        self.ufrags.get(ufrag).copied()
    }

    /// Makes a peer findable by its fragment. After an ICE restart the one before is kept, for checks under way.
    pub(crate) fn add_ufrag(&mut self, peer: PeerId, ufrag: String, claims: &mut Claims) {
        if claims.ufrags.contains(&ufrag) {
            return;
        }
        if claims.ufrags.len() == 2 {
            self.ufrags.remove(&claims.ufrags.remove(0));
        }
        claims.ufrags.push(ufrag.clone());
        self.ufrags.insert(ufrag, peer);
    }

    /// Gives a verified address to a peer.
    pub(crate) fn add_address(&mut self, peer: PeerId, address: SocketAddr, claims: &mut Claims) {
        if claims.addresses.len() == ADDRESSES_MAX {
            let oldest = claims.addresses.remove(0);
            self.release_address(peer, oldest);
        }
        claims.addresses.push(address);
        self.addresses.insert(address, peer);
    }

    /// Forgets a peer.
    pub(crate) fn remove(&mut self, peer: PeerId, claims: &Claims) {
        for address in &claims.addresses {
            self.release_address(peer, *address);
        }
        for ufrag in &claims.ufrags {
            self.ufrags.remove(ufrag);
        }
    }

    /// Addresses and fragments held, for tests of leaks.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len() + self.ufrags.len()
    }

    fn release_address(&mut self, peer: PeerId, address: SocketAddr) {
        // It may have gone to another peer in the meantime.
        if self.addresses.get(&address) == Some(&peer) {
            self.addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerKey;

    fn peer(n: usize) -> PeerId {
        PeerId {
            index: n,
            key: PeerKey(n as u64),
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn binding_request(username: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend([7; 12]);
        datagram.extend([0x80, 0x22, 0, 1, b'x', 0, 0, 0]);
        datagram.extend([0, 6, 0, username.len() as u8]);
        datagram.extend(username);
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        datagram
    }

    #[test]
    fn the_fragment_before_the_colon_names_the_peer() {
        let datagram = binding_request(b"ours:theirs");
        assert_eq!(protocol(&datagram), Some(Protocol::Stun));
        assert_eq!(stun_ufrag(&datagram), Some("ours"));
        assert_eq!(stun_ufrag(&binding_request(b"no colon")), None);
        assert_eq!(stun_ufrag(&binding_request(&[0xff, b':', b'a'])), None);
        for cut in 0..datagram.len() {
            let _ = stun_ufrag(&datagram[..cut]);
        }
    }

    #[test]
    fn an_address_that_went_to_another_peer_is_not_released_with_the_first() {
        let mut demux = Demux::default();
        let (mut a, mut b) = (Claims::default(), Claims::default());
        demux.add_address(peer(1), address(1), &mut a);
        demux.add_address(peer(2), address(1), &mut b);
        demux.remove(peer(1), &a);
        assert_eq!(demux.by_address(address(1)), Some(peer(2)));
        demux.remove(peer(2), &b);
        assert_eq!(demux.len(), 0);
    }

    #[test]
    fn a_peer_keeps_a_bounded_number_of_addresses_and_fragments() {
        let mut demux = Demux::default();
        let mut claims = Claims::default();
        for n in 0..100 {
            demux.add_address(peer(1), address(n), &mut claims);
            demux.add_ufrag(peer(1), format!("ufrag{n}"), &mut claims);
        }
        assert_eq!(demux.len(), ADDRESSES_MAX + 2);
        assert_eq!(demux.by_address(address(99)), Some(peer(1)));
        assert_eq!(demux.by_ufrag("ufrag99"), Some(peer(1)));
        demux.remove(peer(1), &claims);
        assert_eq!(demux.len(), 0);
    }
}
