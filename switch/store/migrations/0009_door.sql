-- Increments (operation 8), notifications and daily bills.

-- What the resolver learnt of captures, refunds and increments. In place of follow_on_outcome, which processes of the
-- version before still send. amount_minor: of an increment what was approved of it.
CREATE TYPE follow_on_ending AS (
    merchant_id       text,
    id                uuid,
    state             smallint,
    response_code     text,
    reason            text,
    channel_reference text,
    answered_time_ms  bigint,
    amount_minor      bigint
);

-- The part of approved_minor that increments approved: what the caller was answered is the rest.
ALTER TABLE authorizations ADD COLUMN incremented_minor bigint NOT NULL DEFAULT 0;

-- hastened: a notification came after the last claim, so that whoever works on the row has asked too early and asks
-- again at once. ended_time_ms: when it closed; 0 while it is open, and of those that closed before this migration.
ALTER TABLE follow_ups
    ADD COLUMN hastened boolean NOT NULL DEFAULT false,
    ADD COLUMN ended_time_ms bigint NOT NULL DEFAULT 0;

-- A notification that names the payment alone.
CREATE INDEX follow_ups_open_of ON follow_ups (authorization_id) WHERE state = 1;

-- A day's captures, refunds and reversals, for the comparison with a bill.
CREATE INDEX follow_ons_created ON follow_ons USING brin (created_time_ms) WITH (pages_per_range = 32, autosummarize = on);

CREATE INDEX follow_ups_ended ON follow_ups USING brin (ended_time_ms) WITH (pages_per_range = 32, autosummarize = on);
