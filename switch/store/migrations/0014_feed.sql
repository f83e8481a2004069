-- The journal's feed (switch.store.feed): from the journal to journal_events.

-- When a payment was answered, for reading the journal by time. BRIN only: an outcome's UPDATE stays in its page (HOT),
-- since PostgreSQL 16 asks that of no summarizing index.
CREATE INDEX authorizations_answered ON authorizations USING brin (answered_time_ms)
    WITH (pages_per_range = 128, autosummarize = on);

CREATE INDEX follow_ons_answered ON follow_ons USING brin (answered_time_ms)
    WITH (pages_per_range = 32, autosummarize = on);

-- How far each reading of the journal has come: what was answered before until_ms (Unix milliseconds) has been read.
CREATE TABLE feed_readings (
    reading  text   PRIMARY KEY,
    until_ms bigint NOT NULL
);

-- Our own name of a message, from its trace (switch.domain.movement.reference_in).
CREATE FUNCTION trace_reference(trace text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(
        trace::json ->> 'out_request_no',
        trace::json ->> 'out_refund_no',
        trace::json ->> 'message_id',
        coalesce(trace::json ->> 'transmission', '') || '-' || (trace::json ->> 'stan'),
        trace::json ->> 'out_trade_no',
        '');
