use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use redred_sfu::event::{CloseReason, Refusal};

use super::*;

const STREAM: StreamKey = StreamKey(7);

/// A plane whose workers are only their inboxes.
fn plane(workers: usize) -> Plane {
    let inbox = |_| Arc::new(Inbox::new().expect("an eventfd"));
    Plane {
        inboxes: (0..workers).map(inbox).collect(),
        loads: vec![Load::default(); workers],
        streams: HashMap::new(),
        peers: HashMap::new(),
    }
}

/// What each worker was told since the last look, in short words.
fn told(plane: &Plane) -> Vec<Vec<String>> {
    let word = |command| match command {
        Command::OpenStream { home, .. } => format!("open at {}", home.0),
        Command::CloseStream { .. } => String::from("close stream"),
        Command::Publish { peer, .. } => format!("publish {}", peer.0),
        Command::Watch { peer, .. } => format!("watch {}", peer.0),
        Command::Close { peer } => format!("close {}", peer.0),
        Command::Offer { .. }
        | Command::Answer { .. }
        | Command::Candidate { .. }
        | Command::Patch { .. }
        | Command::Select { .. } => String::from("about a peer"),
    };
    plane
        .inboxes
        .iter()
        .map(|inbox| inbox.take_commands().into_iter().map(word).collect())
        .collect()
}

fn watch(plane: &mut Plane, peer: u64) {
    plane.watch(PeerKey(peer), STREAM, None, Selection::default());
}

fn publish(plane: &mut Plane, peer: u64, stream: StreamKey) {
    plane.publish(PeerKey(peer), stream, String::new());
}

#[test]
fn viewers_spread_over_workers_and_each_worker_hears_of_the_stream_once() {
    let mut plane = plane(2);
    publish(&mut plane, 0, STREAM);
    for peer in 1..=4 {
        watch(&mut plane, peer);
    }
    assert_eq!(
        told(&plane),
        [
            vec!["open at 0", "publish 0", "watch 1", "watch 3"],
            vec!["open at 0", "watch 2", "watch 4"],
        ]
    );
}

#[test]
fn streams_get_homes_in_turn_and_keep_them_while_their_publisher_is_away() {
    let mut plane = plane(2);
    publish(&mut plane, 0, StreamKey(0));
    publish(&mut plane, 1, StreamKey(1));
    plane.note(&Event::Closed {
        peer: PeerKey(1),
        reason: CloseReason::TimedOut,
    });
    publish(&mut plane, 2, StreamKey(2));
    publish(&mut plane, 3, StreamKey(1));
    assert_eq!(
        told(&plane),
        [
            vec!["open at 0", "publish 0"],
            vec![
                "open at 1",
                "publish 1",
                "open at 1",
                "publish 2",
                "publish 3"
            ],
        ]
    );
}

#[test]
fn seats_are_freed_by_a_close_an_end_and_a_refused_first_offer_only() {
    let mut plane = plane(1);
    for peer in 0..4 {
        watch(&mut plane, peer);
    }
    let refused = |peer| Event::Refused {
        peer: PeerKey(peer),
        refusal: Refusal::Unknown,
    };
    let answer = Event::Answer {
        peer: PeerKey(0),
        sdp: String::new(),
    };
    plane.note(&answer);
    plane.note(&refused(0));
    plane.note(&refused(1));
    plane.close(PeerKey(2));
    plane.close(PeerKey(2));
    assert_eq!(plane.loads[0].viewers, 2);
    told(&plane);

    plane.end_stream(STREAM);
    plane.end_stream(STREAM);
    assert_eq!(plane.loads[0].viewers, 0);
    assert!(!plane.command(PeerKey(0), Command::Close { peer: PeerKey(0) }));
    assert_eq!(told(&plane), [["close stream"]]);
}

#[test]
fn candidates_are_the_advertised_addresses_with_the_port_of_the_socket() {
    let advertised =
        ["203.0.113.5".parse(), "2001:db8::5".parse()].map(|ip| ip.expect("an address"));
    let v4 = SocketAddr::from(([0, 0, 0, 0], 7001));
    assert_eq!(
        candidates(v4, &advertised),
        [SocketAddr::new(advertised[0], 7001)]
    );
    let v6 = SocketAddr::new("::".parse().expect("an address"), 7001);
    assert_eq!(candidates(v6, &advertised).len(), 2);
}

#[test]
fn workers_read_their_sockets_answer_commands_and_stop() {
    let config = Config {
        workers: 2,
        listen_ip: Ipv4Addr::LOCALHOST.into(),
        udp_port_base: 0,
        advertised_ips: vec![Ipv4Addr::LOCALHOST.into()],
    };
    let (mut plane, mut events) = Plane::start(&config).expect("two free ports");
    let monitor = plane.monitor();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    for inbox in &plane.inboxes {
        let address = eventually(|| inbox.stats().local);
        socket.send_to(b"junk", address).expect("sent");
        eventually(|| (inbox.stats().socket.received == 1).then_some(()));
    }
    plane.publish(PeerKey(1), STREAM, String::from("not SDP"));
    let event = events.blocking_recv().expect("living workers");
    assert!(
        matches!(
            event,
            Event::Refused {
                peer: PeerKey(1),
                ..
            }
        ),
        "{event:?}"
    );
    assert_eq!(monitor.dead(), Vec::<usize>::new());

    drop(plane);
    eventually(|| (monitor.dead().len() == 2).then_some(()));
}

fn eventually<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}
