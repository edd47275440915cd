//! Every packet is opened by `rtc-srtp` of webrtc-rs, which shares nothing with this file but the ciphers; session keys are those of the RFCs.

use proptest::prelude::*;
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

const PROFILES: [(SrtpProfile, ProtectionProfile, usize, usize); 3] = [
    (
        SrtpProfile::AES128_CM_SHA1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
        16,
        14,
    ),
    (
        SrtpProfile::AEAD_AES_128_GCM,
        ProtectionProfile::AeadAes128Gcm,
        16,
        12,
    ),
    (
        SrtpProfile::AEAD_AES_256_GCM,
        ProtectionProfile::AeadAes256Gcm,
        32,
        12,
    ),
];

/// We, the server, and a viewer whose ends are `rtc-srtp`'s.
struct Pair {
    sealer: Sealer,
    opener: Opener,
    viewer_opens: Context,
    viewer_seals: Context,
}

fn pair(profile: usize) -> Pair {
    let (ours, theirs, key_bytes, salt_bytes) = PROFILES[profile];
    let material: Vec<u8> = (0..2 * (key_bytes + salt_bytes))
        .map(|n| (n * 7 + 3) as u8)
        .collect();
    let (client_key, rest) = material.split_at(key_bytes);
    let (server_key, rest) = rest.split_at(key_bytes);
    let (client_salt, server_salt) = rest.split_at(salt_bytes);
    let context =
        |key, salt| Context::new(key, salt, theirs, None, None, &AwsLcRsCrypto).expect("they fit");
    let viewer_opens = context(server_key, server_salt);
    let viewer_seals = context(client_key, client_salt);
    let keying = Keying {
        profile: ours,
        material: material.clone(),
        is_client: false,
    };
    let (sealer, opener) = open(&keying).expect("they fit");
    Pair {
        sealer,
        opener,
        viewer_opens,
        viewer_seals,
    }
}

/// A packet with an extension of two words.
fn rtp(seq_no: u16, ssrc: u32, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut packet = vec![0x90, 96];
    packet.extend(seq_no.to_be_bytes());
    packet.extend([0, 1, 2, 3]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xbe, 0xde, 0, 2, 0x43, b'a', b'b', b'c', b'd', 0, 0, 0]);
    let header_bytes = packet.len();
    packet.extend(payload);
    (packet, header_bytes)
}

fn receiver_report(ssrc: u32, body: u8) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([body; 24]);
    packet
}

#[test]
fn an_independent_receiver_opens_packets_over_the_wrap_of_their_numbers() {
    for profile in 0..PROFILES.len() {
        let mut pair = pair(profile);
        let mut stream = Stream::new(Ssrc::from(0xcafe_babe));
        for index in 65_400u64..65_700 {
            let payload = vec![index as u8; (index % 97) as usize * 13];
            let (plain, header_bytes) = rtp(index as u16, 0xcafe_babe, &payload);
            let mut buffer = b"what was there before".to_vec();
            let start = buffer.len();
            buffer.extend(&plain);
            assert!(
                pair.sealer
                    .seal_rtp(&mut stream, index, header_bytes, &mut buffer, start)
            );
            assert_eq!(buffer[start..start + header_bytes], plain[..header_bytes]);
            let opened = pair.viewer_opens.decrypt_rtp(&buffer[start..]);
            assert_eq!(opened.expect("is authentic"), plain, "{profile} {index}");
        }
    }
}

#[test]
fn an_index_is_never_sealed_twice() {
    let pair = pair(2);
    let mut stream = Stream::new(Ssrc::from(1));
    let mut seal = |index: u64| {
        let (mut packet, header_bytes) = rtp(index as u16, 1, b"payload");
        let plain = packet.clone();
        let is_sealed = pair
            .sealer
            .seal_rtp(&mut stream, index, header_bytes, &mut packet, 0);
        assert_eq!(is_sealed, packet != plain);
        is_sealed
    };
    assert!(seal(70_000));
    assert!(!seal(70_000));
    assert!(seal(69_999), "late");
    assert!(!seal(69_999));
    assert!(
        !seal(70_000 - 65_536),
        "the same number on the wire, too old to know"
    );
    assert!(
        seal(70_000 + 65_536),
        "the same number on the wire, the counter went on"
    );
}

#[test]
fn an_independent_receiver_opens_reports() {
    for profile in 0..PROFILES.len() {
        let mut pair = pair(profile);
        for count in 0..20 {
            let plain = receiver_report(7, count);
            let mut buffer = vec![9; 5];
            buffer.extend(&plain);
            assert!(pair.sealer.seal_rtcp(&mut buffer, 5));
            let opened = pair.viewer_opens.decrypt_rtcp(&buffer[5..]);
            assert_eq!(opened.expect("is authentic"), plain, "{profile} {count}");
        }
    }
}

#[test]
fn feedback_is_opened_once() {
    for profile in 0..PROFILES.len() {
        let mut pair = pair(profile);
        for ssrc in [1u32, 0xffff_ffff, 1, 1] {
            let plain = receiver_report(ssrc, 5);
            let sealed = pair.viewer_seals.encrypt_rtcp(&plain).expect("is sealed");
            assert_eq!(
                pair.opener.open_rtcp(&mut sealed.to_vec()),
                Some(&plain[..])
            );
            assert_eq!(
                pair.opener.open_rtcp(&mut sealed.to_vec()),
                None,
                "a replay"
            );
        }
    }
}

#[test]
fn feedback_that_was_touched_is_refused() {
    for profile in 0..PROFILES.len() {
        let mut pair = pair(profile);
        let sealed = pair.viewer_seals.encrypt_rtcp(&receiver_report(1, 5));
        let sealed = sealed.expect("is sealed").to_vec();
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(
                pair.opener.open_rtcp(&mut touched),
                None,
                "{profile} at {at}"
            );
            assert_eq!(
                pair.opener.open_rtcp(&mut sealed[..at].to_vec()),
                None,
                "cut at {at}"
            );
        }
        let mut plain = receiver_report(1, 5);
        plain.extend([0; 30]);
        assert_eq!(pair.opener.open_rtcp(&mut plain), None, "not encrypted");
        assert!(pair.opener.open_rtcp(&mut sealed.clone()).is_some());
    }
}

#[test]
fn keys_that_do_not_fit_their_profile_are_refused() {
    for (profile, ..) in PROFILES {
        for bytes in [0, 10, 55, 57, 59, 61, 87, 89] {
            let keying = Keying {
                profile,
                material: vec![1; bytes],
                is_client: true,
            };
            assert!(open(&keying).is_none(), "{profile} with {bytes}");
        }
    }
}

/// RFC 3711 appendix B.3.
#[test]
fn session_keys_are_derived_as_in_the_rfc() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6");
    let master = Master::new(&key, &salt).expect("they fit");
    let derived = |label, bytes| {
        let mut target = vec![0xff; bytes];
        master.derive(label, &mut target);
        target
    };
    assert_eq!(
        derived(LABEL_ENCRYPTION, 16),
        hex("c61e7a93744f39ee10734afe3ff7a087")
    );
    assert_eq!(derived(LABEL_SALT, 14), hex("30cbbc08863d8c85d49db34a9ae1"));
    let authentication = hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4");
    assert_eq!(derived(LABEL_AUTHENTICATION, 20), authentication);
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Numbers that go on with gaps, latecomers and repetitions: what is sealed is opened, each index once.
    #[test]
    fn any_order_of_numbers_is_opened(
        profile in 0usize..3,
        first in 1u64..32_768,
        steps in prop::collection::vec((0u64..3_000, 0u64..40), 1..60),
    ) {
        let mut pair = pair(profile);
        let mut stream = Stream::new(Ssrc::from(3));
        let mut used = std::collections::HashSet::new();
        let mut highest = first;
        for (step, late) in steps {
            highest += step;
            for index in [highest, highest.saturating_sub(late).max(first)] {
                let (plain, header_bytes) = rtp(index as u16, 3, &index.to_be_bytes());
                let mut buffer = plain.clone();
                let is_sealed = pair.sealer.seal_rtp(&mut stream, index, header_bytes, &mut buffer, 0);
                prop_assert_eq!(is_sealed, used.insert(index));
                if is_sealed {
                    let opened = pair.viewer_opens.decrypt_rtp(&buffer);
                    prop_assert_eq!(&opened.expect("is authentic")[..], &plain[..]);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(profile in 0usize..3, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut bytes = bytes;
        prop_assert_eq!(pair(profile).opener.open_rtcp(&mut bytes), None);
    }
}
