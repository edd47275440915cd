-- Chat: who is known, rooms with their members, messages, and the log of each room. Ids are compared byte by byte, as
-- the server does.

-- Display name and presence of everybody who ever came.
CREATE TABLE users (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name         TEXT             NOT NULL,
    last_seen_ms BIGINT           NOT NULL
);

CREATE TABLE blocks (
    user_id TEXT COLLATE "C" NOT NULL,
    blocked TEXT COLLATE "C" NOT NULL,
    at_ms   BIGINT           NOT NULL,
    PRIMARY KEY (user_id, blocked)
);

-- last_seq is the newest position of the log; messages counts all messages ever written, tombstones included.
-- A direct room holds its pair, the smaller id first, so that the pair has no second one.
CREATE TABLE rooms (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind          TEXT             NOT NULL CHECK (kind IN ('direct', 'group')),
    first_user    TEXT COLLATE "C",
    second_user   TEXT COLLATE "C",
    title         TEXT,
    epoch         TEXT             NOT NULL,
    last_seq      BIGINT           NOT NULL,
    messages      BIGINT           NOT NULL,
    created_at_ms BIGINT           NOT NULL,
    updated_at_ms BIGINT           NOT NULL,
    UNIQUE (first_user, second_user),
    CHECK ((kind = 'direct') = (first_user IS NOT NULL AND second_user IS NOT NULL))
);

-- read_messages is the ordinal of the last message up to read_seq. What is unread is then a difference, less the
-- tombstones behind read_seq: one's own messages are never behind it.
CREATE TABLE members (
    room          TEXT COLLATE "C" NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL,
    role          TEXT             NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    joined_seq    BIGINT           NOT NULL,
    delivered_seq BIGINT           NOT NULL,
    read_seq      BIGINT           NOT NULL,
    read_messages BIGINT           NOT NULL,
    PRIMARY KEY (room, user_id)
);

CREATE INDEX members_of_user ON members (user_id, room);

-- Each message as it is now. ordinal counts the messages of the room, seq everything in its log. words holds the words
-- of a message that is not deleted, and its room as one more.
CREATE TABLE messages (
    number        BIGINT           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room          TEXT COLLATE "C" NOT NULL,
    seq           BIGINT           NOT NULL,
    ordinal       BIGINT           NOT NULL,
    id            TEXT COLLATE "C" NOT NULL UNIQUE,
    sender        TEXT COLLATE "C" NOT NULL,
    sender_name   TEXT             NOT NULL,
    text          TEXT             NOT NULL,
    client_id     TEXT COLLATE "C",
    reply_to_id   TEXT,
    attachments   TEXT,
    created_at_ms BIGINT           NOT NULL,
    edited_at_ms  BIGINT,
    deleted_at_ms BIGINT,
    words         TSVECTOR,
    UNIQUE (room, seq)
);

-- A message that is sent twice is stored once.
CREATE UNIQUE INDEX messages_client ON messages (room, sender, client_id) WHERE client_id IS NOT NULL;

CREATE INDEX messages_deleted ON messages (room, seq) WHERE deleted_at_ms IS NOT NULL;

-- Without a list of pending entries, whose clean-up would now and then make one writer wait for all.
CREATE INDEX messages_words ON messages USING gin (words) WITH (fastupdate = off);

-- What else is in a room's log: edits, deletions, and changes of the room as JSON.
CREATE TABLE room_log (
    room       TEXT COLLATE "C" NOT NULL,
    seq        BIGINT           NOT NULL,
    kind       TEXT             NOT NULL CHECK (kind IN ('edited', 'deleted', 'changed')),
    message_id TEXT COLLATE "C",
    by_user    TEXT             NOT NULL,
    by_name    TEXT             NOT NULL,
    change     TEXT,
    at_ms      BIGINT           NOT NULL,
    PRIMARY KEY (room, seq)
);
