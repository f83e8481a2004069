-- Captures, voids, refunds and acquirers' reversals (switch.domain.authorization.FollowOn). No foreign key: a refused
-- one is kept although its original does not exist, and the originals' partitions are dropped on their own day.
CREATE TABLE follow_ons (
    merchant_id       text     NOT NULL,
    id                uuid     NOT NULL,
    authorization_id  uuid     NOT NULL,
    acquirer_id       text     NOT NULL,
    operation         smallint NOT NULL,
    amount_minor      bigint   NOT NULL,
    currency          text     NOT NULL,
    fingerprint       bytea    NOT NULL,
    state             smallint NOT NULL,
    response_code     text     NOT NULL,
    reason            text     NOT NULL,
    channel_reference text     NOT NULL,
    trace             text     NOT NULL,
    created_time_ms   bigint   NOT NULL,
    answered_time_ms  bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

CREATE INDEX follow_ons_of ON follow_ons (merchant_id, authorization_id);

-- Those in flight (state SENT): what a dead process left is found among them.
CREATE INDEX follow_ons_sent ON follow_ons (created_time_ms) WHERE state = 1;
