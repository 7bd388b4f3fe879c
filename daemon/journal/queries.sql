-- name: add_event
INSERT INTO events (seq, id, origin, ts, received, boot, body, fingerprint, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_delivery
INSERT INTO deliveries (seq, number, handler, target, steps, mode, state, begun, confirmed, first_byte, ended_at,
    result, reason, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: change_delivery
UPDATE deliveries SET steps = ?, state = ?, begun = ?, confirmed = ?, first_byte = ?, ended_at = ?, result = ?,
    reason = ?, crc = ? WHERE seq = ? AND number = ?;

-- name: ids
SELECT seq, id FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT ?;

-- name: find_event
SELECT seq, body FROM events WHERE id = ?;

-- The newest event of the same source and body, and whether a key of it may have gone out. One of before the machine's
-- start counts its seconds from another moment, and one received in the future is none of just now.
-- name: find_twin
SELECT seq, id,
    (SELECT count(*) FROM deliveries d WHERE d.seq = e.seq
        AND (d.begun > 0 OR d.result IS NULL OR d.result NOT IN ('failed', 'expired', 'refused'))),
    (SELECT count(*) FROM deliveries d WHERE d.seq = e.seq)
FROM events e WHERE fingerprint = ? AND received > ? AND boot > ? AND (boot <= ? OR received <= ?)
ORDER BY seq DESC LIMIT 1;

-- The highest number ever given, also when retention has taken the events it was given to.
-- name: last_seq
SELECT max(
    coalesce((SELECT max(seq) FROM events), 0),
    coalesce((SELECT max(seq) FROM deliveries), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'recovered'), 0)
);

-- name: unfinished
SELECT e.seq, e.id, e.origin, e.ts, e.received, e.boot, e.body, e.fingerprint, e.crc,
    d.number, d.handler, d.target, d.steps, d.mode, d.state, d.begun, d.confirmed, d.first_byte, d.ended_at, d.result,
    d.reason, d.crc
FROM deliveries d JOIN events e USING (seq)
WHERE d.seq > ? AND d.seq <= ? AND d.state <> 'ended' ORDER BY d.seq, d.number;

-- name: set_fact
INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: get_fact
SELECT value FROM facts WHERE name = ?;

-- name: get_facts
SELECT name, value FROM facts WHERE substr(name, 1, ?) = ?;

-- name: drop_fact
DELETE FROM facts WHERE name = ?;

-- name: put_trade
INSERT INTO book (mode, target, trade, state) VALUES (?, ?, ?, ?)
    ON CONFLICT (mode, target, trade) DO UPDATE SET state = excluded.state;

-- name: drop_trade
DELETE FROM book WHERE mode = ? AND target = ? AND trade = ?;

-- name: trades
SELECT target, trade, state FROM book WHERE mode = ?;

-- name: set_aside
INSERT INTO set_aside (found, what, record) VALUES (?, ?, ?);

-- name: count_set_aside
SELECT count(*) FROM set_aside;

-- name: drop_delivery
DELETE FROM deliveries WHERE seq = ? AND number = ?;

-- Retention, oldest first and a few at a time, so that the loop is never held up. The newest stays: its number says
-- which records of the inbox have been moved.
-- name: oldest
SELECT seq FROM (SELECT seq, received FROM events ORDER BY seq LIMIT ?)
WHERE received < ? AND seq < (SELECT max(seq) FROM events);

-- name: drop_events_to
DELETE FROM events WHERE seq <= ?;

-- name: drop_deliveries_to
DELETE FROM deliveries WHERE seq <= ?;

-- name: list_events
SELECT seq, id, origin, ts, received, body FROM events
WHERE seq > :after AND received >= :since
    AND (:type IS NULL OR CASE WHEN json_valid(body) THEN json_extract(body, '$.type') END = :type)
    AND (:symbol IS NULL OR CASE WHEN json_valid(body) THEN json_extract(body, '$.symbol') END = :symbol)
ORDER BY seq DESC LIMIT :limit;

-- name: list_events_after
SELECT seq, id, origin, ts, received, body FROM events
WHERE seq > :after AND received >= :since
    AND (:type IS NULL OR CASE WHEN json_valid(body) THEN json_extract(body, '$.type') END = :type)
    AND (:symbol IS NULL OR CASE WHEN json_valid(body) THEN json_extract(body, '$.symbol') END = :symbol)
ORDER BY seq LIMIT :limit;

-- name: one_event
SELECT seq, id, origin, ts, received, body FROM events WHERE id = ?;

-- name: deliveries_of
SELECT seq, number, handler, target, steps, mode, state, begun, confirmed, result, reason,
    nullif(d.first_byte, 0) AS first_byte, nullif(ended_at, 0) AS ended_at,
    CASE WHEN d.first_byte > 0 THEN round((d.first_byte - received) * 1000, 3) END AS latency_ms
FROM deliveries d JOIN events USING (seq) WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq, number;

-- The same mark is the same post: what is on record of it stays as it is.
-- name: add_post
INSERT INTO posts (seq, handler, place, run, "group", name, mark, body, made, state, result, reason, answer, ended_at, crc)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (mark) DO NOTHING;

-- name: change_post
UPDATE posts SET state = ?, result = ?, reason = ?, answer = ?, ended_at = ?, crc = ? WHERE seq = ?;

-- name: last_post
SELECT coalesce(max(seq), 0) FROM posts;

-- name: waiting_posts
SELECT * FROM posts WHERE handler = ? AND state <> 'ended' ORDER BY seq;

-- name: find_post
SELECT * FROM posts WHERE mark = ?;

-- name: posts_of_run
SELECT * FROM posts WHERE run = ? ORDER BY seq;

-- Posts without a group only, which are few: they have an index.
-- name: posts_named
SELECT * FROM posts WHERE handler = ? AND name = ? AND "group" = '' ORDER BY seq DESC LIMIT ?;

-- A run's first post, and the one that ends it, whose mark is the run's with something behind.
-- name: list_runs
SELECT p.run, p.place, p.body, p.made, p.state, p.result, p.reason, p.answer,
    e.body AS end_body, e.made AS end_made, e.state AS end_state, e.result AS end_result, e.reason AS end_reason,
    e.answer AS end_answer
FROM posts p LEFT JOIN posts e ON e.mark = p.run || :ending
WHERE p.handler = :handler AND p.name = :name AND p."group" = '' ORDER BY p.seq DESC LIMIT :limit;

-- name: count_posts
SELECT run, name, CASE WHEN state = 'ended' THEN result ELSE 'waiting' END AS result, count(*) AS count
FROM posts WHERE "group" <> '' AND run IN (SELECT value FROM json_each(?)) GROUP BY 1, 2, 3;

-- name: drop_post
DELETE FROM posts WHERE seq = ?;

-- Of the oldest a few, so that the loop is never held up. A run that is going on, or whose posts wait, is remembered
-- as a whole: its first post holds the number that all others need.
-- name: drop_posts
DELETE FROM posts WHERE seq IN (
    SELECT seq FROM (SELECT seq, state, ended_at, run FROM posts ORDER BY seq LIMIT :chunk)
    WHERE state = 'ended' AND ended_at < :before AND run <> (SELECT run FROM posts ORDER BY seq DESC LIMIT 1)
        AND run NOT IN (SELECT run FROM posts WHERE state <> 'ended')
);
