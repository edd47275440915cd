-- One row, written again and again while the database fails, until that works.
CREATE TABLE health (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    checked_at_ms BIGINT NOT NULL
);
