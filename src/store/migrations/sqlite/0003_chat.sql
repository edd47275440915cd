-- Chat: who is known, rooms with their members, messages, and the log of each room.

-- Display name and presence of everybody who ever came.
CREATE TABLE users (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    last_seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blocks (
    user_id TEXT    NOT NULL,
    blocked TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (user_id, blocked)
) STRICT, WITHOUT ROWID;

-- last_seq is the newest position of the log; messages counts all messages ever written, tombstones included.
-- A direct room holds its pair, the smaller id first, so that the pair has no second one.
CREATE TABLE rooms (
    id            TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL CHECK (kind IN ('direct', 'group')),
    first_user    TEXT,
    second_user   TEXT,
    title         TEXT,
    epoch         TEXT    NOT NULL,
    last_seq      INTEGER NOT NULL,
    messages      INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (first_user, second_user),
    CHECK ((kind = 'direct') = (first_user IS NOT NULL AND second_user IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- read_messages is the ordinal of the last message up to read_seq. What is unread is then a difference, less the
-- tombstones behind read_seq: one's own messages are never behind it.
CREATE TABLE members (
    room          TEXT    NOT NULL,
    user_id       TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    joined_seq    INTEGER NOT NULL,
    delivered_seq INTEGER NOT NULL,
    read_seq      INTEGER NOT NULL,
    read_messages INTEGER NOT NULL,
    PRIMARY KEY (room, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_of_user ON members (user_id, room);

-- Each message as it is now. ordinal counts the messages of the room, seq everything in its log.
CREATE TABLE messages (
    number        INTEGER PRIMARY KEY,
    room          TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    ordinal       INTEGER NOT NULL,
    id            TEXT    NOT NULL UNIQUE,
    sender        TEXT    NOT NULL,
    sender_name   TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    client_id     TEXT,
    reply_to_id   TEXT,
    attachments   TEXT,
    created_at_ms INTEGER NOT NULL,
    edited_at_ms  INTEGER,
    deleted_at_ms INTEGER,
    UNIQUE (room, seq)
) STRICT;

-- A message that is sent twice is stored once.
CREATE UNIQUE INDEX messages_client ON messages (room, sender, client_id) WHERE client_id IS NOT NULL;

CREATE INDEX messages_deleted ON messages (room, seq) WHERE deleted_at_ms IS NOT NULL;

-- The words of each message that is not deleted, and its room as one more. They come separated by blanks and in lower
-- case, so everything else belongs to a word.
CREATE VIRTUAL TABLE message_words USING fts5 (
    words,
    content = '',
    contentless_delete = 1,
    detail = 'none',
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'"
);

-- What else is in a room's log: edits, deletions, and changes of the room as JSON.
CREATE TABLE room_log (
    room       TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('edited', 'deleted', 'changed')),
    message_id TEXT,
    by_user    TEXT    NOT NULL,
    by_name    TEXT    NOT NULL,
    change     TEXT,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
