-- Captures and refunds whose outcome is open are the resolver's work too: one row for each of them, with the
-- follow-on's id, operation CAPTURE or REFUND, and the follow-on's own created_time_ms (its place in its payer's line).
-- Of reversals and inquiries there is one of each per authorization, as before: their follow_on_id is nil.
ALTER TABLE follow_ups ADD COLUMN follow_on_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';

ALTER TABLE follow_ups
    DROP CONSTRAINT follow_ups_pkey,
    ADD PRIMARY KEY (merchant_id, authorization_id, operation, follow_on_id);

DROP INDEX follow_ups_payer;

CREATE INDEX follow_ups_payer ON follow_ups (payer_key, created_time_ms, authorization_id, operation, follow_on_id)
    WHERE state = 1;

-- In place of follow_up_result, which is not sent any more.
CREATE TYPE follow_up_row AS (
    merchant_id      text,
    authorization_id uuid,
    operation        smallint,
    follow_on_id     uuid,
    fence            bigint,
    state            smallint,
    after_ms         bigint,
    detail           text
);

DROP TYPE follow_up_result;

-- What the resolver learnt of captures and refunds.
CREATE TYPE follow_on_outcome AS (
    merchant_id       text,
    id                uuid,
    state             smallint,
    response_code     text,
    reason            text,
    channel_reference text,
    answered_time_ms  bigint
);

-- Captures (3) and refunds (5) that were left UNKNOWN (5) while nobody pursued them.
INSERT INTO follow_ups (
    merchant_id, authorization_id, operation, follow_on_id, payer_key, created_time_ms, state, first_due_time_ms,
    due_time_ms, attempts, lease_owner, lease_until_ms, fence, trace, detail)
SELECT n.merchant_id, n.authorization_id, n.operation, n.id, a.payer_key, n.created_time_ms, 1, now_ms(),
       now_ms(), 0, NULL, 0, 0, '{}', ''
FROM follow_ons AS n
JOIN authorizations AS a ON a.merchant_id = n.merchant_id AND a.id = n.authorization_id
WHERE n.state = 5 AND n.operation IN (3, 5);
