-- Version 1. Every later version is a block of its own below; `PRAGMA user_version` says how far a file has come.

-- One row per event. `ts`, `received`: seconds since the epoch; `boot`: seconds since boot at receipt.
-- `fingerprint` only where the sender gave no id; `crc` covers everything else in the row.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    origin      TEXT NOT NULL,
    ts          REAL NOT NULL,
    received    REAL NOT NULL,
    boot        REAL NOT NULL,
    body        TEXT NOT NULL,
    fingerprint BLOB,
    crc         INTEGER NOT NULL
) STRICT;
CREATE INDEX events_without_id ON events (fingerprint) WHERE fingerprint IS NOT NULL;

-- One row per delivery. `steps`: JSON array; `begun`: steps whose bytes may be out; `confirmed`: steps the peer
-- confirmed; `crc` covers everything else in the row.
CREATE TABLE deliveries (
    seq        INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    handler    TEXT NOT NULL,
    target     TEXT NOT NULL,
    steps      TEXT NOT NULL,
    mode       TEXT NOT NULL,
    state      TEXT NOT NULL,
    begun      INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL,
    first_byte REAL NOT NULL,
    ended_at   REAL NOT NULL,
    result     TEXT,
    reason     TEXT NOT NULL,
    crc        INTEGER NOT NULL,
    PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;

-- What the guard believes, one row per trade, mode and target.
CREATE TABLE book (
    mode    TEXT NOT NULL,
    target  TEXT NOT NULL,
    trade   TEXT NOT NULL,
    state   TEXT NOT NULL,
    PRIMARY KEY (mode, target, trade)
) STRICT, WITHOUT ROWID;

-- Single facts: the halt, how far recovery has come.
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Records that could not be trusted, kept for a person to read.
CREATE TABLE set_aside (
    found  REAL NOT NULL,
    what   TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;

-- Version 2.

-- What peers are to be told, late but not lost. `mark` makes a post one; `made`, `ended_at`: seconds since the epoch;
-- `body`, `answer`: JSON; `crc` covers everything else in the row.
CREATE TABLE posts (
    seq      INTEGER PRIMARY KEY,
    handler  TEXT NOT NULL,
    place    TEXT NOT NULL,
    run      TEXT NOT NULL,
    "group"  TEXT NOT NULL,
    name     TEXT NOT NULL,
    mark     TEXT NOT NULL UNIQUE,
    body     TEXT NOT NULL,
    made     REAL NOT NULL,
    state    TEXT NOT NULL,
    result   TEXT,
    reason   TEXT NOT NULL,
    answer   TEXT NOT NULL,
    ended_at REAL NOT NULL,
    crc      INTEGER NOT NULL
) STRICT;
CREATE INDEX posts_of_run ON posts (run);
CREATE INDEX posts_waiting ON posts (handler, seq) WHERE state <> 'ended';
CREATE INDEX posts_of_no_group ON posts (handler, name, seq) WHERE "group" = '';
