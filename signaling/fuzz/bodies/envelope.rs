//! What clients send, one message a line, into a hub with a live stream: the lines go in turn to its streamer and to a
//! viewer.

use std::time::Duration;

use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{Config, codec};

/// More messages than a client sends at once; the rest of an input is not looked at.
const MESSAGES_MAX: usize = 16;

/// Feeds one input.
///
/// # Panics
/// When a request is answered other than once, or somebody hears of a stream they are not subscribed to.
pub(crate) fn run(input: &[u8]) {
    let config = Config::default();
    let bytes_max = config.session.message_bytes_max;
    let mut world = World::new(config);
    let ana = world.connect(&streamer("ana"), Some("live:ana"));
    world.go_live(ana, "ana");
    let vera = world.connect(&viewer("vera"), Some("live:ana"));
    let bystander = world.connect(&viewer("bob"), Some("live:bo"));
    for socket in [ana, vera, bystander] {
        world.take(socket);
    }

    let lines = input.split(|byte| *byte == b'\n');
    for (line, socket) in lines
        .take(MESSAGES_MAX)
        .zip([ana, vera].into_iter().cycle())
    {
        if world.closed.contains_key(&socket) {
            continue;
        }
        world.hub.handle_message(world.now, socket, line);
        world.run();
        // Long enough for whatever an answer may wait for, shorter than a heartbeat.
        world.advance(Duration::from_millis(700));
        let id = match codec::decode(line, bytes_max) {
            Ok(incoming) => incoming.id,
            Err(malformed) => malformed.id,
        };
        let received = world.take(socket);
        if let Some(id) = id {
            let answers = received
                .iter()
                .filter(|message| message["metadata"]["reply_to"] == id.as_str());
            assert_eq!(answers.count(), 1, "answers to {id:?} among {received:?}");
        } else if codec::decode(line, bytes_max).is_err() {
            let errors = received.iter().filter(|message| message["type"] == "error");
            assert_eq!(errors.count(), 1, "errors among {received:?}");
        }
    }
    assert_eq!(world.take(bystander), Vec::<serde_json::Value>::new());
}
