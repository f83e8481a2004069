-- The resolver's work: one row per authorization and operation (REVERSAL or INQUIRY) whose outcome is open.
-- state: 1 open, 2 done, 3 dead (a person must look). fence grows with every claim. payer_key and created_time_ms are
-- the authorization's: they order the work of one payer. detail says why it closed.
CREATE TABLE follow_ups (
    merchant_id       text     NOT NULL,
    authorization_id  uuid     NOT NULL,
    operation         smallint NOT NULL,
    payer_key         bytea    NOT NULL,
    created_time_ms   bigint   NOT NULL,
    state             smallint NOT NULL,
    first_due_time_ms bigint   NOT NULL,
    due_time_ms       bigint   NOT NULL,
    attempts          integer  NOT NULL,
    lease_owner       uuid,
    lease_until_ms    bigint   NOT NULL,
    fence             bigint   NOT NULL,
    trace             text     NOT NULL,
    detail            text     NOT NULL,
    PRIMARY KEY (merchant_id, authorization_id, operation)
) WITH (fillfactor = 70);

CREATE INDEX follow_ups_due ON follow_ups (due_time_ms) WHERE state = 1;

CREATE INDEX follow_ups_payer ON follow_ups (payer_key, created_time_ms, authorization_id, operation) WHERE state = 1;

-- Arrays of these answer a claim.
CREATE TYPE follow_up_result AS (
    merchant_id      text,
    authorization_id uuid,
    operation        smallint,
    fence            bigint,
    state            smallint,
    after_ms         bigint,
    detail           text
);
