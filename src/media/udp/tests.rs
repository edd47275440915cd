use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::*;

fn udp(ip: impl Into<std::net::IpAddr>) -> Udp {
    let socket = bind(SocketAddr::new(ip.into(), 0)).expect("a free port");
    Udp::new(socket).expect("a working socket")
}

fn datagrams<B: AsRef<[u8]>>(all: impl IntoIterator<Item = (SocketAddr, B)>) -> Datagrams {
    let source = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let mut datagrams = Datagrams::default();
    for (destination, bytes) in all {
        datagrams.push(source, destination, bytes.as_ref());
    }
    datagrams
}

/// Receives until `count` datagrams are there.
fn receive(udp: &mut Udp, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut received = Vec::new();
    while received.len() < count && Instant::now() < deadline {
        udp.receive(|source, bytes| received.push((source, bytes.to_vec())));
    }
    received
}

#[test]
fn datagrams_of_one_size_form_one_message_and_a_shorter_one_ends_it() {
    for (sizes, expected) in [
        (&[1200, 1200, 700, 700][..], 3),
        (&[700, 1200], 1),
        (&[2000, 2000], 1),
        (&[0, 0], 1),
        (&[5, 0], 1),
        (&[1000; 100], 64),
        (&[1452; 64], 44),
    ] {
        assert_eq!(run_length(sizes.iter().copied()), expected, "{sizes:?}");
    }
}

#[test]
fn a_call_has_one_segment_size_or_none() {
    let run = |segment_bytes, count| Run {
        round: 0,
        segment_bytes,
        start: 0,
        count,
    };
    for (runs, expected) in [
        (&[run(100, 1), run(200, 1), run(0, 1), run(100, 2)][..], 3),
        (&[run(100, 1), run(100, 2), run(200, 1)], 2),
        (&[run(100, 3), run(100, 1), run(100, 2)], 3),
        (&[run(100, 2), run(90, 1)], 1),
    ] {
        assert_eq!(same_call(runs), expected, "{runs:?}");
    }
}

#[test]
fn a_bad_destination_does_not_end_segmentation() {
    let mut sender = udp(Ipv4Addr::LOCALHOST);
    let mut receiver = udp(Ipv4Addr::LOCALHOST);
    let bad = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for _ in 0..100 {
        let destinations = [bad, bad, receiver.local(), receiver.local()];
        sender.send(&mut datagrams(destinations.map(|to| (to, [1; 1000]))));
        receive(&mut receiver, 2);
    }
    assert!(sender.segmentation);
    assert_eq!(
        (sender.counters().sent, sender.counters().send_errors),
        (200, 200)
    );
}

#[test]
fn a_batch_for_many_arrives_whole_and_in_order_for_each() {
    let mut sender = udp(Ipv4Addr::LOCALHOST);
    let mut receivers: Vec<Udp> = (0..5).map(|_| udp(Ipv4Addr::LOCALHOST)).collect();
    let sizes = [1100, 1100, 1100, 300, 90, 1100, 40, 1400, 1400, 20, 1900];
    let mut batch = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        for receiver in &receivers {
            batch.push((receiver.local(), vec![number as u8; size]));
        }
    }
    let mut batch = datagrams(batch);
    sender.send(&mut batch);
    assert!(batch.is_empty());
    for receiver in &mut receivers {
        let received = receive(receiver, sizes.len());
        let shapes: Vec<(u8, usize)> = received
            .iter()
            .map(|(_, bytes)| (bytes[0], bytes.len()))
            .collect();
        let expected: Vec<(u8, usize)> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| (number as u8, *size))
            .collect();
        assert_eq!(shapes, expected);
        assert!(received.iter().all(|(source, _)| *source == sender.local()));
    }
    let counters = sender.counters();
    assert_eq!(counters.sent, 55);
    assert_eq!(counters.sent_bytes, 5 * sizes.iter().sum::<usize>() as u64);
    assert!(counters.send_calls < 12, "{counters:?}");
}

#[test]
fn without_segmentation_everything_arrives_too() {
    let mut sender = udp(Ipv4Addr::LOCALHOST);
    sender.segmentation = false;
    let mut receiver = udp(Ipv4Addr::LOCALHOST);
    let local = receiver.local();
    sender.send(&mut datagrams(
        (0..200).map(|number| (local, [number; 100])),
    ));
    let received = receive(&mut receiver, 200);
    assert!((0..200).eq(received.iter().map(|(_, bytes)| bytes[0])));
}

#[test]
fn one_socket_serves_both_families() {
    let mut dual = udp(Ipv6Addr::UNSPECIFIED);
    let port = dual.local().port();
    let mut v4 = udp(Ipv4Addr::LOCALHOST);
    let address = (Ipv4Addr::LOCALHOST, port).into();
    v4.send(&mut datagrams([(address, b"four")]));
    let received = receive(&mut dual, 1);
    assert_eq!(
        received,
        [(v4.local(), b"four".to_vec())],
        "the mapped address became IPv4"
    );
    dual.send(&mut datagrams([(v4.local(), b"back")]));
    assert_eq!(receive(&mut v4, 1)[0].1, b"back");
}

#[test]
fn what_the_kernel_refuses_is_counted_and_does_not_hold_up_the_rest() {
    let mut sender = udp(Ipv4Addr::LOCALHOST);
    let mut receiver = udp(Ipv4Addr::LOCALHOST);
    sender.send(&mut datagrams([
        ((Ipv4Addr::LOCALHOST, 0).into(), b"port zero".to_vec()),
        (receiver.local(), vec![1; 70_000]),
        (receiver.local(), b"fine".to_vec()),
    ]));
    assert_eq!(receive(&mut receiver, 1)[0].1, b"fine");
    assert_eq!(
        (sender.counters().send_errors, sender.counters().sent),
        (2, 1)
    );
}

#[test]
fn an_oversized_datagram_is_dropped_and_counted() {
    let mut sender = udp(Ipv4Addr::LOCALHOST);
    let mut receiver = udp(Ipv4Addr::LOCALHOST);
    let local = receiver.local();
    sender.send(&mut datagrams([
        (local, vec![1; 3000]),
        (local, b"fine".to_vec()),
    ]));
    assert_eq!(
        receive(&mut receiver, 1),
        [(sender.local(), b"fine".to_vec())]
    );
    assert_eq!(receiver.counters().truncated, 1);
}
