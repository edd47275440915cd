-- Live streams: their comments and moderation. Times are unix milliseconds; names are checked before they get here.

-- Every comment, in the order it was acknowledged. A deleted one stays, with who deleted it.
CREATE TABLE comments (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    stream        TEXT    NOT NULL,
    id            TEXT    NOT NULL UNIQUE,
    user_id       TEXT    NOT NULL,
    user_name     TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('viewer', 'vip', 'moderator', 'streamer')),
    text          TEXT    NOT NULL,
    highlighted   INTEGER NOT NULL CHECK (highlighted IN (0, 1)),
    client_id     TEXT,
    created_at_ms INTEGER NOT NULL,
    deleted_by    TEXT,
    deleted_at_ms INTEGER
) STRICT;

CREATE INDEX comments_visible ON comments (stream, seq) WHERE deleted_at_ms IS NULL;

-- A comment that is sent twice is stored once.
CREATE UNIQUE INDEX comments_client ON comments (stream, user_id, client_id) WHERE client_id IS NOT NULL;

CREATE TABLE bans (
    stream  TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    by_user TEXT    NOT NULL,
    reason  TEXT,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (stream, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE timeouts (
    stream   TEXT    NOT NULL,
    user_id  TEXT    NOT NULL,
    by_user  TEXT    NOT NULL,
    reason   TEXT,
    at_ms    INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE roles (
    stream  TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    role    TEXT    NOT NULL CHECK (role IN ('vip', 'moderator')),
    by_user TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (stream, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    stream            TEXT    NOT NULL PRIMARY KEY,
    slow_mode_seconds INTEGER NOT NULL,
    pinned_comment    TEXT
) STRICT, WITHOUT ROWID;

-- One row for each time a stream was live. Without an end while it is, or when the server died meanwhile.
CREATE TABLE runs (
    run           TEXT    NOT NULL PRIMARY KEY,
    stream        TEXT    NOT NULL,
    publisher     TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    tags          TEXT    NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms   INTEGER,
    reason        TEXT,
    duration_ms   INTEGER,
    peak_viewers  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_of_stream ON runs (stream, started_at_ms);
