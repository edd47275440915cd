//! Every limit and interval of the realtime core. The shell validates what people set; a core takes the values as they
//! are. What happens at a limit is written beside it.

use std::time::Duration;

/// Limits and intervals. `Default` is what the server runs with unless told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Sessions and their sockets.
    pub session: Session,
    /// The queue towards one session.
    pub outbox: Outbox,
    /// Channels and their history.
    pub channel: Channel,
    /// Live streams.
    pub live: Live,
    /// Comments, reactions and their moderation.
    pub chat: Chat,
    /// Chat rooms, their messages, and who is here.
    pub rooms: Rooms,
    /// What one user may ask, over all sessions and requests.
    pub quota: Quota,
    /// Notifications and followers.
    pub notifications: Notifications,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session: Session {
                max_sessions: 50_000,
                max_sessions_per_user: 20,
                message_bytes_max: 64 * 1024,
                heartbeat: Duration::from_secs(25),
                idle_timeout: Duration::from_secs(60),
                resume_window: Duration::from_secs(30),
                close_linger: Duration::from_secs(5),
                messages_per_second: 30,
                messages_burst: 120,
                abuse_budget: 60,
                abuse_forgiven_per_second: 2,
                max_subscriptions: 32,
                max_watches: 8,
                max_publishing: 8,
                drain_delay_min: Duration::from_millis(500),
                drain_spread: Duration::from_secs(10),
            },
            outbox: Outbox {
                bytes_max: 1024 * 1024,
                messages_max: 1024,
                batch_frames_max: 64,
                batch_bytes_max: 256 * 1024,
            },
            channel: Channel {
                max_channels: 10_000,
                history_messages: 500,
                history_bytes: 256 * 1024,
                linger: Duration::from_secs(60),
                pending_max: 1024,
                directory_interval: Duration::from_millis(1000),
                directory_streams_max: 200,
            },
            live: Live {
                takeover: Takeover::Reject,
                publisher_grace: Duration::from_millis(10_000),
                connect_timeout: Duration::from_secs(5),
                start_timeout: Duration::from_secs(60),
                max_viewers: 10_000,
                viewers_interval: Duration::from_millis(500),
                join_interval: Duration::from_millis(1000),
                join_batch_max: 50,
                leave_delay: Duration::from_secs(3),
                wait_max: Duration::from_secs(30),
                waiting_max: 1000,
                pending_media_requests_max: 8,
                remembered_resources: 4096,
            },
            chat: Chat {
                recent_comments: 50,
                comments_per_minute: 60,
                comments_burst: 5,
                reactions_per_second: 5,
                reactions_burst: 20,
                reactions_interval: Duration::from_millis(500),
                reaction_kinds_max: 16,
                pending_writes_max: 1024,
                waiting_repeats_max: 8,
                remembered_client_ids: 512,
                remembered_writers: 4096,
                slow_mode_max: Duration::from_secs(600),
                timeout_max: Duration::from_secs(14 * 24 * 3600),
                kick_cooldown: Duration::from_secs(30),
                bans_max: 10_000,
                roles_max: 1000,
            },
            rooms: Rooms {
                max_rooms: 10_000,
                linger: Duration::from_secs(60),
                pending_max: 1024,
                pending_writes_max: 1024,
                pending_changes_max: 32,
                pending_reads_max: 4096,
                max_group_members: 256,
                add_members_max: 100,
                blocks_max: 1000,
                recent_messages: 50,
                state_bytes_max: 64 * 1024,
                page_bytes_max: 128 * 1024,
                list_rooms: 50,
                list_waiting_max: 64,
                history_messages: 256,
                history_bytes: 128 * 1024,
                recovery_messages: 500,
                recovery_bytes: 256 * 1024,
                recoveries_max: 256,
                held_max: 1024,
                retry_delay: Duration::from_secs(1),
                retry_delay_max: Duration::from_secs(8),
                messages_per_second: 10,
                messages_burst: 30,
                remembered_writers: 65_536,
                typing_timeout: Duration::from_secs(3),
                offline_delay: Duration::from_secs(5),
            },
            quota: Quota {
                messages_per_second: 60,
                messages_burst: 240,
                requests_per_second: 20,
                requests_burst: 100,
                users_max: 100_000,
            },
            notifications: Notifications {
                batch_window: Duration::from_millis(500),
                batch_max: 50,
                recipients_max: 10_000,
                write_recipients_max: 500,
                target_bytes_max: 4096,
                recovery_max: 200,
                muted_kinds_max: 100,
                followers_max: 100_000,
                live_cooldown: Duration::from_secs(10 * 60),
                live_jobs_max: 4,
                live_waiting_max: 1000,
                live_remembered_max: 10_000,
                notify_jobs_max: 32,
                message_jobs_max: 1024,
                attempts_max: 5,
                attempt_delay: Duration::from_secs(1),
                pending_max: 4096,
                remembered_reads: 10_000,
                retention: Duration::from_secs(90 * 24 * 3600),
                key_retention: Duration::from_secs(24 * 3600),
                purge_interval: Duration::from_secs(3600),
                purge_pause: Duration::from_secs(1),
                purge_rows_max: 1000,
            },
        }
    }
}

/// Sessions and their sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Sessions of this node, attached or resumable; memory for the idle ones is a few KiB each.
    /// At the limit new sockets are closed with 4029.
    pub max_sessions: usize,
    /// Sessions of one user: a person has a few tabs and devices. At the limit new sockets are closed with 4029.
    pub max_sessions_per_user: usize,
    /// Bytes of one message, the contract's 64 KiB. Larger ones are answered with `too_large`.
    pub message_bytes_max: usize,
    /// How long a session may be silent before it is pinged: under the 30 s after which mobile networks forget idle
    /// connections.
    pub heartbeat: Duration,
    /// How long a session may be silent before it is closed with 4008: two heartbeats and some network trouble.
    pub idle_timeout: Duration,
    /// How long a session can be resumed after its socket went: a page reload or a network change fits.
    pub resume_window: Duration,
    /// How long a close waits for what is still being written before the socket is cut.
    pub close_linger: Duration,
    /// Messages a second of one session. Beyond the burst: `rate_limited`.
    pub messages_per_second: u32,
    /// Messages at once: a browser trickles some dozens of candidates in one go.
    pub messages_burst: u32,
    /// Bad or excessive messages that a session may send at once. Beyond: closed with 4529.
    pub abuse_budget: u32,
    /// How many of them are forgiven each second.
    pub abuse_forgiven_per_second: u32,
    /// Channels of one session. At the limit: `conflict`.
    pub max_subscriptions: usize,
    /// Streams that one session watches at a time. At the limit: `conflict`.
    pub max_watches: usize,
    /// Streams that one session publishes, or is about to, at a time. At the limit: `conflict`.
    pub max_publishing: usize,
    /// The shortest `reconnect_after_ms` when draining: time for the process to be replaced.
    pub drain_delay_min: Duration,
    /// Over how long reconnections are spread beyond that.
    pub drain_spread: Duration,
}

/// The queue towards one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox {
    /// Bytes queued and in flight. Beyond, droppable messages go first, then the session is closed with 4002.
    pub bytes_max: usize,
    /// Messages queued and in flight, likewise.
    pub messages_max: usize,
    /// Frames in one write: enough to fill a socket buffer, few enough that a closing session does not wait long.
    pub batch_frames_max: usize,
    /// Bytes in one write, except that one frame always goes.
    pub batch_bytes_max: usize,
}

/// Channels and their history.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Channels with state in memory. At the limit: `unavailable`.
    pub max_channels: usize,
    /// Messages kept for recovery. Older gaps are told as `recovered: false`.
    pub history_messages: usize,
    /// Bytes kept for recovery, likewise; must be well under the outbox.
    pub history_bytes: usize,
    /// How long a channel that nobody uses keeps its epoch and history.
    pub linger: Duration,
    /// Requests that wait for one channel to be loaded. At the limit: `unavailable`.
    pub pending_max: usize,
    /// How often `streams_update` goes out at most.
    pub directory_interval: Duration,
    /// Streams that one `streams_update` or list names, longest running first.
    pub directory_streams_max: usize,
}

/// What happens when a second publisher comes to a stream whose publisher is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The second is refused (409, `conflict`).
    Reject,
    /// The second replaces the first.
    Replace,
}

/// Live streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// A second publisher on a stream with a present one.
    pub takeover: Takeover,
    /// How long a stream goes on without its publisher.
    pub publisher_grace: Duration,
    /// How long a publisher that negotiates counts as present before media was ever heard.
    pub connect_timeout: Duration,
    /// How long a started stream may wait for its first media: the streamer may be reading a permission prompt.
    pub start_timeout: Duration,
    /// Connections that watch one stream. At the limit: `unavailable`.
    pub max_viewers: usize,
    /// How often `viewers_update` goes out at most: the contract's twice a second.
    pub viewers_interval: Duration,
    /// How often joins and leaves go out at most.
    pub join_interval: Duration,
    /// Joins and leaves told by name in one interval; the rest only count.
    pub join_batch_max: usize,
    /// How long somebody must be away to have left: a reload is no leave.
    pub leave_delay: Duration,
    /// The longest `Prefer: wait=N`.
    pub wait_max: Duration,
    /// WHEP requests that wait for one stream. At the limit: `unavailable`.
    pub waiting_max: usize,
    /// Requests about one connection that wait for the media plane. At the limit: `rate_limited`.
    pub pending_media_requests_max: usize,
    /// WHIP and WHEP resources that are gone but still answer a DELETE, for clients close the connection first and send
    /// DELETE then. At the limit the one that went longest ago is forgotten, and answers `not_found`.
    pub remembered_resources: usize,
}

/// Comments, reactions and their moderation.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// Comments that come with `subscribed`: the contract's 50.
    pub recent_comments: usize,
    /// Comments a minute of one user on one stream, moderators and VIPs excepted. Beyond the burst: `rate_limited`.
    pub comments_per_minute: u32,
    /// Comments at once, likewise.
    pub comments_burst: u32,
    /// Reactions a second of one session. Beyond the burst: `rate_limited`.
    pub reactions_per_second: u32,
    /// Reactions at once, likewise.
    pub reactions_burst: u32,
    /// How often reaction counts go out.
    pub reactions_interval: Duration,
    /// Different emoji in one interval; more are not counted, and the sender is told `rate_limited`.
    pub reaction_kinds_max: usize,
    /// Writes of one stream that wait for the store. At the limit: `unavailable`.
    pub pending_writes_max: usize,
    /// Repeats of one comment that wait for its store reply: a client that sends more is not retrying. At the limit:
    /// `rate_limited`.
    pub waiting_repeats_max: usize,
    /// Comments whose `client_id` is remembered per stream; older repeats are recognised by the store.
    pub remembered_client_ids: usize,
    /// Writers whose pace is remembered per stream. At the limit the one who wrote longest ago is forgotten.
    pub remembered_writers: usize,
    /// The slowest slow mode; more: `invalid_field`.
    pub slow_mode_max: Duration,
    /// The longest timeout; longer is a ban.
    pub timeout_max: Duration,
    /// How long a kicked user stays out.
    pub kick_cooldown: Duration,
    /// Bans and timeouts of one stream. At the limit: `conflict`.
    pub bans_max: usize,
    /// Roles given on one stream. At the limit: `conflict`.
    pub roles_max: usize,
}

/// Chat rooms, their messages, and who is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Rooms {
    /// Rooms with state in memory. At the limit the one that was idle longest is forgotten; when none is idle:
    /// `unavailable`.
    pub max_rooms: usize,
    /// How long a room that nobody follows stays in memory. Longer saves reads, shorter saves memory.
    pub linger: Duration,
    /// Requests that wait for one room to be loaded. At the limit: `unavailable`.
    pub pending_max: usize,
    /// Requests of one room that wait for the store. At the limit writes are refused: `unavailable`.
    pub pending_writes_max: usize,
    /// Changes of one group that wait for each other. At the limit: `unavailable`.
    pub pending_changes_max: usize,
    /// Pages of history, searches and lists that wait for the store, of all rooms. At the limit: `unavailable`.
    pub pending_reads_max: usize,
    /// Members of a group. More: `conflict`.
    pub max_group_members: usize,
    /// Members added by one request. More: `invalid_field`.
    pub add_members_max: usize,
    /// Users that one user blocks. At the limit: `conflict`.
    pub blocks_max: usize,
    /// Messages that come with `subscribed`.
    pub recent_messages: usize,
    /// Bytes of these: there are fewer when they are long. One is always there.
    pub state_bytes_max: usize,
    /// Bytes of one page of history, search or rooms, likewise; must be well under the outbox.
    pub page_bytes_max: usize,
    /// Rooms that come with `subscribed` of `chats`.
    pub list_rooms: usize,
    /// Changes of rooms that are kept for a session while its list is read. Beyond, the list is read again.
    pub list_waiting_max: usize,
    /// Messages of a room kept in memory for recovery; older gaps are read from the log.
    pub history_messages: usize,
    /// Bytes kept for recovery, likewise; must be well under the outbox.
    pub history_bytes: usize,
    /// Messages that are read from the log for one recovery. Larger gaps are told as `recovered: false`.
    pub recovery_messages: usize,
    /// Bytes of these, likewise; must be well under the outbox.
    pub recovery_bytes: usize,
    /// Recoveries of one room that read the log at a time. At the limit: `recovered: false`.
    pub recoveries_max: usize,
    /// Publications of one room that wait for those before them. At the limit they are read from the log.
    pub held_max: usize,
    /// How long a room waits to read what it missed again when the store failed; doubled each time.
    pub retry_delay: Duration,
    /// The longest such wait.
    pub retry_delay_max: Duration,
    /// Messages, edits and changes of groups a second of one user. Beyond the burst: `rate_limited`.
    pub messages_per_second: u32,
    /// The same at once.
    pub messages_burst: u32,
    /// Writers whose pace is remembered. At the limit those who have not written lately are forgotten.
    pub remembered_writers: usize,
    /// How long `typing` holds: the contract's 3 s.
    pub typing_timeout: Duration,
    /// How long somebody must be away to be offline: a reload or a network change is no absence.
    pub offline_delay: Duration,
}

/// Notifications and followers.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifications {
    /// How long notifications of medium priority are collected for one `notification_batch`. Longer is fewer messages,
    /// later.
    pub batch_window: Duration,
    /// Lines in one batch: one more and it goes out before the window ends. Bounds the message, at up to 7 KiB a line.
    pub batch_max: usize,
    /// Recipients of one request: the contract's 10 000. More: `invalid_field`.
    pub recipients_max: usize,
    /// Recipients of one write: few enough that other writes do not wait long behind it.
    pub write_recipients_max: usize,
    /// Bytes of `target` as JSON. More: `invalid_field`.
    pub target_bytes_max: usize,
    /// Missed notifications that are sent after `subscribed`. More are told as `recovered: false`; the list has them.
    pub recovery_max: usize,
    /// Kinds that one user may mute. More: `invalid_field`.
    pub muted_kinds_max: usize,
    /// Followers of one stream. More: `invalid_field`, or `conflict` for one more.
    pub followers_max: usize,
    /// How long the followers of a stream are not told again that it is live: a flapping streamer is no news.
    pub live_cooldown: Duration,
    /// Streams whose followers are told at a time; each has one page of them in flight.
    pub live_jobs_max: usize,
    /// Streams that wait for that. At the limit the followers of one more are not told, and it is counted.
    pub live_waiting_max: usize,
    /// Streams whose cooldown is remembered. At the limit the one told longest ago is forgotten.
    pub live_remembered_max: usize,
    /// Requests to notify that are being stored at a time. At the limit: `unavailable`.
    pub notify_jobs_max: usize,
    /// Messages whose notifications are being stored at a time. At the limit those of one more are not made, and it is
    /// counted.
    pub message_jobs_max: usize,
    /// How often the server's own notifications are tried when the store fails. Then they are given up, and it is counted.
    pub attempts_max: u32,
    /// How long it waits between two of these.
    pub attempt_delay: Duration,
    /// Reads and marks that wait for the store. At the limit: `unavailable`.
    pub pending_max: usize,
    /// Members and rooms that are known to have no unread notification, so that reading on costs no write. At the limit the
    /// one noted longest ago is forgotten.
    pub remembered_reads: usize,
    /// How long notifications are kept, from their newest event.
    pub retention: Duration,
    /// How long idempotency keys are kept.
    pub key_retention: Duration,
    /// How often the store is asked to delete what is older.
    pub purge_interval: Duration,
    /// How long it rests between two deletions while there is more.
    pub purge_pause: Duration,
    /// Rows that one deletion takes.
    pub purge_rows_max: usize,
}

/// What one user may ask of this node, over all their sessions and requests together. Administrators are free of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Messages a second over WebSockets: what two busy devices send. Beyond the burst: `rate_limited`.
    pub messages_per_second: u32,
    /// Messages at once.
    pub messages_burst: u32,
    /// Requests a second over HTTP about rooms, messages, notifications and people. Beyond the burst: `rate_limited`.
    pub requests_per_second: u32,
    /// Requests at once: a page that begins asks for a dozen things.
    pub requests_burst: u32,
    /// Users whose pace is remembered. At the limit those who have been silent longest are forgotten.
    pub users_max: usize,
}
