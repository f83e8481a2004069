-- A user who has lost every factor (switch.users.rescue). state: switch.domain.account.RescueState. from_time_ms,
-- expires_time_ms: when it may be completed, and until when it may be approved or completed. Rows are kept.
CREATE TABLE user_rescues (
    rescue_id         uuid     PRIMARY KEY,
    user_id           uuid     NOT NULL,
    state             smallint NOT NULL,
    reason            text     NOT NULL,
    requested_by      text     NOT NULL,
    requested_time_ms bigint   NOT NULL,
    approved_by       text     NOT NULL DEFAULT '',
    from_time_ms      bigint   NOT NULL DEFAULT 0,
    expires_time_ms   bigint   NOT NULL,
    ended_by          text     NOT NULL DEFAULT '',
    ended_time_ms     bigint   NOT NULL DEFAULT 0
);

-- One at a time.
CREATE UNIQUE INDEX user_rescues_open ON user_rescues (user_id) WHERE state IN (1, 2);

-- Housekeeping (switch.store.retention): the lease of whoever does it, and when it last was done. journal_from: the journal
-- has no payment with an id below it any more, since its days were dropped.
CREATE TABLE housekeeping (
    one            boolean PRIMARY KEY CHECK (one),
    lease_until_ms bigint  NOT NULL,
    fence          bigint  NOT NULL,
    done_time_ms   bigint  NOT NULL,
    journal_from   uuid    NOT NULL
);

INSERT INTO housekeeping (one, lease_until_ms, fence, done_time_ms, journal_from)
VALUES (true, 0, 0, 0, '00000000-0000-0000-0000-000000000000');

-- What is left of a dropped day, and old deliveries: rows lie about in the order of their times.
CREATE INDEX journal_events_of_day ON journal_events USING brin (authorization_id)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX follow_ons_of_day ON follow_ons USING brin (authorization_id)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX webhook_deliveries_created ON webhook_deliveries USING brin (created_time_ms)
    WITH (pages_per_range = 32, autosummarize = on);
