-- Notifications: one inbox for each user, what they want to hear, who follows whom, and what applications have sent
-- already.

-- Names the positions of all inboxes; another database has another one.
CREATE TABLE inbox_epoch (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT    NOT NULL
) STRICT;

INSERT INTO inbox_epoch (id, epoch) VALUES (1, lower(hex(randomblob(4))));

-- The newest position and how many notifications are not read.
CREATE TABLE inboxes (
    user_id  TEXT    NOT NULL PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    unread   INTEGER NOT NULL CHECK (unread >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE notifications (
    number        INTEGER PRIMARY KEY,
    user_id       TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    id            TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL,
    priority      TEXT    NOT NULL CHECK (priority IN ('medium', 'high')),
    message       TEXT    NOT NULL,
    actor_id      TEXT,
    actor_name    TEXT,
    target        TEXT,
    group_key     TEXT,
    count         INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    read_at_ms    INTEGER,
    UNIQUE (user_id, seq)
) STRICT;

CREATE INDEX notifications_unread ON notifications (user_id, seq) WHERE read_at_ms IS NULL;

-- Further events of a kind fold into the one that is not read yet.
CREATE UNIQUE INDEX notifications_open ON notifications (user_id, kind, group_key)
    WHERE read_at_ms IS NULL AND group_key IS NOT NULL;

CREATE INDEX notifications_by_age ON notifications (created_at_ms);

-- muted_kinds is a JSON array, quiet_hours a JSON object.
CREATE TABLE preferences (
    user_id     TEXT NOT NULL PRIMARY KEY,
    muted_kinds TEXT NOT NULL,
    quiet_hours TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE followers (
    stream  TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (stream, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE follower_counts (
    stream    TEXT    NOT NULL PRIMARY KEY,
    followers INTEGER NOT NULL CHECK (followers >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    name     TEXT    NOT NULL PRIMARY KEY,
    accepted INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);
