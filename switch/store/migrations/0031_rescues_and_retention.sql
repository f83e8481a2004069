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

-- Housekeeping (switch.store.retention): one process at a time, and when it last went through.
CREATE TABLE housekeeping (
    one            boolean PRIMARY KEY CHECK (one),
    lease_until_ms bigint  NOT NULL,
    done_time_ms   bigint  NOT NULL
);

INSERT INTO housekeeping (one, lease_until_ms, done_time_ms) VALUES (true, 0, 0);
