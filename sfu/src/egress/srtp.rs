//! Hot path. SRTP and SRTCP towards one viewer, and SRTCP from it (RFC 3711, RFC 7714).
//!
//! Packets are sealed where they lie in the send buffer:
//!
//! ```text
//! RTP    | header, extensions | payload ........... | tag |
//!        |---- authentic -----|---- encrypted ------|
//! RTCP   | first 8 bytes | reports ................ | tag | E, index |     AES-GCM
//!        | first 8 bytes | reports ................ | E, index | tag |     AES-CM with HMAC-SHA1
//! ```
//!
//! What must hold is that no key meets the same SSRC and index twice: with AES-GCM that would give the key for
//! authentication away, with either both packets. [`Stream`] sees to it: an index that was used is refused, and one that
//! is too old to know as well. See `docs/decisions/0013-egress-of-our-own.md` for why str0m, which has the same keys, cannot
//! be the second one.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use smallvec::SmallVec;
use str0m::crypto::dtls::SrtpProfile;
use str0m::rtp::Ssrc;

use super::window::Window;

const GCM_TAG_BYTES: usize = 16;
const CM_TAG_BYTES: usize = 10;
const GCM_SALT_BYTES: usize = 12;
const CM_SALT_BYTES: usize = 14;
const CM_AUTHENTICATION_BYTES: usize = 20;

/// The first header and the SSRC of a compound packet stay readable.
const RTCP_CLEAR_BYTES: usize = 8;
const RTCP_INDEX_BYTES: usize = 4;
/// In front of the index: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Key derivation labels (RFC 3711 section 4.3.2); those of SRTCP are three higher.
const LABEL_ENCRYPTION: u8 = 0;
const LABEL_AUTHENTICATION: u8 = 1;
const LABEL_SALT: u8 = 2;
const LABELS_RTCP: u8 = 3;

/// Numbers behind the highest one that may still be sealed: as many as the numbering of a line gives out late.
const SEALED_WORDS: usize = 8;

/// SSRCs of a viewer's feedback whose indexes are remembered. Browsers use one or two.
const SENDERS_MAX: usize = 8;

/// What DTLS agreed on.
pub(crate) struct Keying {
    pub(crate) profile: SrtpProfile,
    /// Client key, server key, client salt, server salt (RFC 5764 section 4.2).
    pub(crate) material: Vec<u8>,
    /// This side is the client.
    pub(crate) is_client: bool,
}

impl std::fmt::Debug for Keying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keying({})", self.profile)
    }
}

/// One SSRC that packets are sealed on, and the indexes that were used.
#[derive(Debug)]
pub(crate) struct Stream {
    ssrc: Ssrc,
    sealed: Window<SEALED_WORDS>,
}

impl Stream {
    pub(crate) fn new(ssrc: Ssrc) -> Self {
        Self {
            ssrc,
            sealed: Window::default(),
        }
    }

    pub(crate) fn ssrc(&self) -> Ssrc {
        self.ssrc
    }
}

/// Seals what goes to a viewer.
#[derive(Debug)]
pub(crate) struct Sealer {
    rtp: Cipher,
    rtcp: Cipher,
    rtcp_index: u32,
}

/// Opens the feedback of a viewer.
#[derive(Debug)]
pub(crate) struct Opener {
    rtcp: Cipher,
    senders: SmallVec<[(u32, Window<1>); 2]>,
}

/// The keys of one direction, for RTP or RTCP.
enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; GCM_SALT_BYTES],
    },
    /// In a box, for it is several times as large and rarely there.
    Cm(Box<Cm>),
}

struct Cm {
    key: EncryptingKey,
    authentication: hmac::Key,
    salt: [u8; CM_SALT_BYTES],
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gcm { .. } => "Gcm",
            Self::Cm(_) => "Cm",
        })
    }
}

/// Makes both ends of a connection; `None` for a profile that is not known or material that does not fit it.
pub(crate) fn open(keying: &Keying) -> Option<(Sealer, Opener)> {
    let (key_bytes, salt_bytes) = match keying.profile {
        SrtpProfile::AES128_CM_SHA1_80 => (16, CM_SALT_BYTES),
        SrtpProfile::AEAD_AES_128_GCM => (16, GCM_SALT_BYTES),
        SrtpProfile::AEAD_AES_256_GCM => (32, GCM_SALT_BYTES),
        _ => return None,
    };
    let (keys, salts) = keying.material.split_at_checked(2 * key_bytes)?;
    if salts.len() != 2 * salt_bytes {
        return None;
    }
    let (keys, salts) = (keys.split_at(key_bytes), salts.split_at(salt_bytes));
    let client = Master::new(keys.0, salts.0)?;
    let server = Master::new(keys.1, salts.1)?;
    let (ours, theirs) = match keying.is_client {
        true => (client, server),
        false => (server, client),
    };
    let cipher = |master: &Master, labels| Cipher::new(keying.profile, master, labels).ok();
    let sealer = Sealer {
        rtp: cipher(&ours, 0)?,
        rtcp: cipher(&ours, LABELS_RTCP)?,
        rtcp_index: 0,
    };
    let opener = Opener {
        rtcp: cipher(&theirs, LABELS_RTCP)?,
        senders: SmallVec::new(),
    };
    Some((sealer, opener))
}

impl Sealer {
    /// Seals the RTP packet that begins at `start` of `buffer` and ends where that does. `index` is its extended
    /// sequence number. False, and nothing is changed, when the stream has used the index already.
    pub(crate) fn seal_rtp(
        &self,
        stream: &mut Stream,
        index: u64,
        header_bytes: usize,
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> bool {
        debug_assert_eq!(
            buffer.get(start + 2..start + 4),
            Some(&(index as u16).to_be_bytes()[..])
        );
        if !stream.sealed.insert(index) {
            return false;
        }
        let (header, payload) = buffer[start..].split_at_mut(header_bytes);
        let ssrc = *stream.ssrc;
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                // RFC 7714 section 8.1: 00 00, SSRC, rollover counter, sequence number.
                let mut nonce = [0; GCM_SALT_BYTES];
                nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
                nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
                let tag = seal_gcm(key, salt, nonce, header, payload);
                buffer.extend_from_slice(&tag);
            }
            Cipher::Cm(cm) => {
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index), payload);
                let rollover = (index >> 16) as u32;
                let tag = sign(
                    &cm.authentication,
                    &buffer[start..],
                    &rollover.to_be_bytes(),
                );
                buffer.extend_from_slice(&tag);
            }
        }
        true
    }

    /// Seals the compound RTCP packet that begins at `start` of `buffer` and ends where that does. False when there is no
    /// index left, or it is no packet.
    pub(crate) fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> bool {
        let packet = &mut buffer[start..];
        let Some(&ssrc) = packet.get(4..).and_then(|rest| rest.first_chunk::<4>()) else {
            return false;
        };
        if self.rtcp_index >= RTCP_ENCRYPTED {
            return false;
        }
        let (ssrc, index) = (u32::from_be_bytes(ssrc), self.rtcp_index);
        self.rtcp_index += 1;
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        let (clear, rest) = packet.split_at_mut(RTCP_CLEAR_BYTES);
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let aad = gcm_rtcp_aad(clear, word);
                let tag = seal_gcm(key, salt, gcm_rtcp_nonce(ssrc, index), &aad, rest);
                buffer.extend_from_slice(&tag);
                buffer.extend_from_slice(&word);
            }
            Cipher::Cm(cm) => {
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index.into()), rest);
                buffer.extend_from_slice(&word);
                let tag = sign(&cm.authentication, &buffer[start..], &[]);
                buffer.extend_from_slice(&tag);
            }
        }
        true
    }
}

impl Opener {
    /// Opens an SRTCP packet in place. `None` when it is not authentic, not encrypted, or was opened before.
    pub(crate) fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let tail = match self.rtcp {
            Cipher::Gcm { .. } => 0,
            Cipher::Cm(_) => CM_TAG_BYTES,
        };
        let end = packet.len().checked_sub(RTCP_INDEX_BYTES + tail)?;
        let word = *packet.get(end..)?.first_chunk::<RTCP_INDEX_BYTES>()?;
        let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
        let index = u32::from_be_bytes(word);
        if index & RTCP_ENCRYPTED == 0 {
            return None;
        }
        let index = index & !RTCP_ENCRYPTED;
        let plain = match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let (clear, sealed) = packet
                    .get_mut(..end)?
                    .split_at_mut_checked(RTCP_CLEAR_BYTES)?;
                let aad = gcm_rtcp_aad(clear, word);
                let nonce = xor(gcm_rtcp_nonce(ssrc, index), salt);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, Aad::from(aad), sealed).ok()?;
                RTCP_CLEAR_BYTES + opened.len()
            }
            Cipher::Cm(cm) => {
                let (signed, tag) = packet.split_at_checked(end + RTCP_INDEX_BYTES)?;
                let expected = sign(&cm.authentication, signed, &[]);
                aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag).ok()?;
                let sealed = packet.get_mut(RTCP_CLEAR_BYTES..end)?;
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index.into()), sealed);
                end
            }
        };
        self.is_new(ssrc, index).then(|| &packet[..plain])
    }

    fn is_new(&mut self, ssrc: u32, index: u32) -> bool {
        let known = self.senders.iter_mut().find(|sender| sender.0 == ssrc);
        if let Some((_, opened)) = known {
            return opened.insert(index.into());
        }
        if self.senders.len() == SENDERS_MAX {
            self.senders.remove(0);
        }
        let mut opened = Window::default();
        opened.insert(index.into());
        self.senders.push((ssrc, opened));
        true
    }
}

impl Cipher {
    fn new(profile: SrtpProfile, master: &Master, labels: u8) -> Result<Self, Unspecified> {
        if profile == SrtpProfile::AES128_CM_SHA1_80 {
            let mut key = [0; 16];
            let mut authentication = [0; CM_AUTHENTICATION_BYTES];
            let mut salt = [0; CM_SALT_BYTES];
            master.derive(labels + LABEL_ENCRYPTION, &mut key);
            master.derive(labels + LABEL_AUTHENTICATION, &mut authentication);
            master.derive(labels + LABEL_SALT, &mut salt);
            return Ok(Self::Cm(Box::new(Cm {
                key: EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &key)?)?,
                authentication: hmac::Key::new(
                    hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                    &authentication,
                ),
                salt,
            })));
        }
        let (algorithm, key_bytes) = match profile == SrtpProfile::AEAD_AES_128_GCM {
            true => (&AES_128_GCM, 16),
            false => (&AES_256_GCM, 32),
        };
        let mut key = [0; 32];
        let key = &mut key[..key_bytes];
        let mut salt = [0; GCM_SALT_BYTES];
        master.derive(labels + LABEL_ENCRYPTION, key);
        master.derive(labels + LABEL_SALT, &mut salt);
        Ok(Self::Gcm {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key)?),
            salt,
        })
    }
}

/// A master key and salt, from which session keys are derived (RFC 3711 section 4.3.1, with a rate of zero).
struct Master {
    key: EncryptingKey,
    salt: [u8; CM_SALT_BYTES],
}

impl Master {
    fn new(key: &[u8], salt: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128,
            32 => &AES_256,
            _ => return None,
        };
        let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
        // The salt of AES-GCM is two bytes shorter and padded behind (RFC 7714 section 11).
        let mut padded = [0; CM_SALT_BYTES];
        padded.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(Self { key, salt: padded })
    }

    fn derive(&self, label: u8, target: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..CM_SALT_BYTES].copy_from_slice(&self.salt);
        iv[7] ^= label;
        target.fill(0);
        apply_ctr(&self.key, iv, target);
    }
}

/// The counter that a packet begins with (RFC 3711 section 4.1.1).
fn cm_iv(salt: &[u8; CM_SALT_BYTES], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}

/// RFC 7714 section 9.1: 00 00, SSRC, 00 00, index.
fn gcm_rtcp_nonce(ssrc: u32, index: u32) -> [u8; GCM_SALT_BYTES] {
    let mut nonce = [0; GCM_SALT_BYTES];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

fn gcm_rtcp_aad(clear: &[u8], word: [u8; RTCP_INDEX_BYTES]) -> [u8; 12] {
    let mut aad = [0; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES];
    aad[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
    aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
    aad
}

fn xor(mut nonce: [u8; GCM_SALT_BYTES], salt: &[u8; GCM_SALT_BYTES]) -> [u8; GCM_SALT_BYTES] {
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    nonce
}

fn seal_gcm(
    key: &LessSafeKey,
    salt: &[u8; GCM_SALT_BYTES],
    nonce: [u8; GCM_SALT_BYTES],
    aad: &[u8],
    plain: &mut [u8],
) -> [u8; GCM_TAG_BYTES] {
    let nonce = Nonce::assume_unique_for_key(xor(nonce, salt));
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), plain)
        .expect("a packet is shorter than what one nonce may seal");
    let mut bytes = [0; GCM_TAG_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn apply_ctr(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(bytes, context)
        .expect("counter mode takes any number of bytes");
}

/// HMAC-SHA1, cut to 80 bits.
fn sign(key: &hmac::Key, packet: &[u8], behind: &[u8]) -> [u8; CM_TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(behind);
    let tag = context.sign();
    let mut bytes = [0; CM_TAG_BYTES];
    bytes.copy_from_slice(&tag.as_ref()[..CM_TAG_BYTES]);
    bytes
}

#[cfg(test)]
mod tests;
