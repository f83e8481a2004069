"""From the journal's rows to its events: the one statement that tells what happened (docs/feed.md has the rules)."""

from typing import Final

# $1, $2: the window, Unix milliseconds; $3, $4: ids that it can hold; $5: where one of the tables has so many rows in
# it, nothing is done; $6: the last position given. Returns how many rows were read of the table that had most, and how
# many events were new.
#
# One statement is one snapshot, and the journal moves an authorization together with what moved it. Of an authorization
# that something happened to after its answer ("named") everything is told at once, in the order of the kinds: nothing
# can stand before what it followed.
FEED: Final = """
WITH answered AS MATERIALIZED (
    SELECT * FROM authorizations
    WHERE id >= $3 AND id < $4 AND state IN (3, 4, 5, 6, 7, 8)
      AND ((answered_time_ms >= $1 AND answered_time_ms < $2)
           OR (answered_time_ms = 0 AND state = 4 AND created_time_ms >= $1 AND created_time_ms < $2))
    LIMIT $5),
followed AS MATERIALIZED (
    SELECT merchant_id, authorization_id FROM follow_ons
    WHERE answered_time_ms >= $1 AND answered_time_ms < $2 AND state = 3 LIMIT $5),
resolved AS MATERIALIZED (
    SELECT merchant_id, authorization_id FROM follow_ups
    WHERE ended_time_ms >= $1 AND ended_time_ms < $2 AND operation IN (6, 7) LIMIT $5),
size AS MATERIALIZED (
    SELECT greatest((SELECT count(*) FROM answered), (SELECT count(*) FROM followed), (SELECT count(*) FROM resolved))
               AS rows),
named AS MATERIALIZED (
    SELECT merchant_id, id FROM answered WHERE state IN (6, 7) AND decision = 1
    UNION SELECT merchant_id, authorization_id FROM followed
    UNION SELECT merchant_id, authorization_id FROM resolved),
whole AS MATERIALIZED (
    SELECT a.* FROM named AS n JOIN authorizations AS a ON a.merchant_id = n.merchant_id AND a.id = n.id
    WHERE (SELECT rows FROM size) < $5 AND a.state IN (3, 4, 5, 6, 7, 8)),
told AS (
    SELECT * FROM answered
    WHERE (SELECT rows FROM size) < $5 AND (merchant_id, id) NOT IN (SELECT merchant_id, id FROM named)
    UNION ALL SELECT * FROM whole),
found AS (
    SELECT merchant_id, id AS authorization_id,
           CASE WHEN decision = 1 THEN 1 WHEN state = 4 THEN 2 ELSE 3 END AS kind,
           '00000000-0000-0000-0000-000000000000'::uuid AS follow_on_id, operation,
           CASE WHEN decision = 1 THEN approved_minor - incremented_minor ELSE amount_minor END AS amount_minor,
           currency, CASE WHEN answered_time_ms > 0 THEN answered_time_ms ELSE created_time_ms END AS time_ms,
           created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, trace, payer_key,
           masked_credential
    FROM told WHERE (decision = 1 AND state IN (3, 6, 7)) OR (decision = 2 AND state = 4)
        OR (decision = 3 AND state IN (5, 6, 8))
    UNION ALL
    SELECT w.merchant_id, w.id, CASE n.operation WHEN 3 THEN 4 WHEN 5 THEN 5 ELSE 7 END, n.id, w.operation,
           n.amount_minor, n.currency, n.answered_time_ms, w.created_time_ms, w.acquirer_id, w.terminal_id, w.channel,
           w.entry, n.response_code, n.trace, w.payer_key, w.masked_credential
    FROM whole AS w JOIN follow_ons AS n ON n.merchant_id = w.merchant_id AND n.authorization_id = w.id
    WHERE w.decision = 1 AND n.operation IN (3, 5, 8) AND n.state = 3
    UNION ALL
    SELECT w.merchant_id, w.id, 6, '00000000-0000-0000-0000-000000000000'::uuid, w.operation,
           greatest(0, CASE w.operation WHEN 2 THEN n.captured_minor ELSE w.approved_minor - w.incremented_minor END
                       - n.refunded_minor),
           w.currency, coalesce(least(n.undone_time_ms, f.ended_time_ms), w.answered_time_ms), w.created_time_ms,
           w.acquirer_id, w.terminal_id, w.channel, w.entry, '', coalesce(f.trace, n.trace, w.trace), w.payer_key,
           w.masked_credential
    FROM whole AS w
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount_minor) FILTER (WHERE operation = 3), 0)::bigint AS captured_minor,
               coalesce(sum(amount_minor) FILTER (WHERE operation = 5), 0)::bigint AS refunded_minor,
               min(answered_time_ms) FILTER (WHERE operation IN (4, 6)) AS undone_time_ms,
               (array_agg(trace ORDER BY answered_time_ms, id)
                   FILTER (WHERE operation IN (4, 6) AND trace_reference(trace) <> ''))[1] AS trace
        FROM follow_ons WHERE merchant_id = w.merchant_id AND authorization_id = w.id AND state = 3) AS n
    LEFT JOIN LATERAL (
        SELECT ended_time_ms, CASE WHEN trace_reference(trace) <> '' THEN trace END AS trace FROM follow_ups
        WHERE merchant_id = w.merchant_id AND authorization_id = w.id AND operation = 6 AND state = 2
          AND ended_time_ms > 0
        LIMIT 1) AS f ON true
    WHERE w.decision = 1 AND w.state IN (6, 7)),
written AS (
    INSERT INTO journal_events (
        merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency, time_ms,
        created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix)
    SELECT merchant_id, authorization_id, kind, follow_on_id,
           $6 + row_number() OVER (ORDER BY CASE kind WHEN 7 THEN 3 ELSE kind END, time_ms, authorization_id),
           operation, amount_minor, currency, time_ms, created_time_ms, acquirer_id, terminal_id, channel, entry,
           response_code, trace_reference(trace), CASE masked_credential WHEN '' THEN ''::bytea ELSE payer_key END,
           coalesce(substring(masked_credential FROM '^[0-9]{6}'), '')
    FROM found AS f
    WHERE NOT EXISTS (
        SELECT FROM journal_events AS e
        WHERE e.merchant_id = f.merchant_id AND e.authorization_id = f.authorization_id AND e.kind = f.kind
          AND e.follow_on_id = f.follow_on_id)
    RETURNING 1)
SELECT rows, (SELECT count(*) FROM written) AS events FROM size
"""
