-- Notifications: one inbox for each user, what they want to hear, who follows whom, and what applications have sent
-- already.

-- Names the positions of all inboxes; another database has another one.
CREATE TABLE inbox_epoch (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    epoch TEXT   NOT NULL
);

INSERT INTO inbox_epoch (id, epoch) VALUES (1, left(replace(gen_random_uuid()::text, '-', ''), 8));

-- The newest position and how many notifications are not read.
CREATE TABLE inboxes (
    user_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    last_seq BIGINT           NOT NULL,
    unread   BIGINT           NOT NULL CHECK (unread >= 0)
);

CREATE TABLE notifications (
    number        BIGINT           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL,
    seq           BIGINT           NOT NULL,
    id            TEXT COLLATE "C" NOT NULL UNIQUE,
    kind          TEXT COLLATE "C" NOT NULL,
    priority      TEXT             NOT NULL CHECK (priority IN ('medium', 'high')),
    message       TEXT             NOT NULL,
    actor_id      TEXT,
    actor_name    TEXT,
    target        TEXT,
    group_key     TEXT COLLATE "C",
    count         BIGINT           NOT NULL,
    created_at_ms BIGINT           NOT NULL,
    read_at_ms    BIGINT,
    UNIQUE (user_id, seq)
);

CREATE INDEX notifications_unread ON notifications (user_id, seq) WHERE read_at_ms IS NULL;

-- Further events of a kind fold into the one that is not read yet.
CREATE UNIQUE INDEX notifications_open ON notifications (user_id, kind, group_key)
    WHERE read_at_ms IS NULL AND group_key IS NOT NULL;

CREATE INDEX notifications_by_age ON notifications (created_at_ms);

-- muted_kinds is a JSON array, quiet_hours a JSON object.
CREATE TABLE preferences (
    user_id     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    muted_kinds TEXT             NOT NULL,
    quiet_hours TEXT
);

CREATE TABLE followers (
    stream  TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    at_ms   BIGINT           NOT NULL,
    PRIMARY KEY (stream, user_id)
);

CREATE TABLE follower_counts (
    stream    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    followers BIGINT           NOT NULL CHECK (followers >= 0)
);

CREATE TABLE idempotency_keys (
    name     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    accepted BIGINT           NOT NULL,
    at_ms    BIGINT           NOT NULL
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);
