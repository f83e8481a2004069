-- The journal: one row per authorization (switch.domain.authorization.Authorization).
--
-- The distribution key, merchant_id, leads the primary key. id begins with the millisecond of the acquirer's
-- transmission time, so a day is a range of ids: days are partitions (made by partitions.py, which also sets their
-- fillfactor), and an id that belongs to no day that was made goes to the default one.
--
-- No index but the primary key and a BRIN: the outcome's UPDATE then touches no indexed column and stays in its page
-- (HOT). Amounts are minor units; times are Unix milliseconds. trace holds JSON, as text because the server never
-- looks inside it.
CREATE TABLE authorizations (
    merchant_id            text     NOT NULL,
    id                     uuid     NOT NULL,
    acquirer_id            text     NOT NULL,
    terminal_id            text     NOT NULL,
    merchant_category_code text     NOT NULL,
    operation              smallint NOT NULL,
    amount_minor           bigint   NOT NULL,
    currency               text     NOT NULL,
    entry                  smallint NOT NULL,
    masked_credential      text     NOT NULL,
    fingerprint            bytea    NOT NULL,
    payer_key              bytea    NOT NULL,
    sealed_credential      bytea    NOT NULL,
    state                  smallint NOT NULL,
    decision               smallint,
    response_code          text     NOT NULL,
    reason                 text     NOT NULL,
    stage                  text     NOT NULL,
    channel                text     NOT NULL,
    attempt                smallint NOT NULL,
    route_explanation      text     NOT NULL,
    trace                  text     NOT NULL,
    approval_code          text     NOT NULL,
    retrieval_reference    text     NOT NULL,
    channel_reference      text     NOT NULL,
    emv_response           bytea    NOT NULL,
    approved_minor         bigint   NOT NULL,
    captured_minor         bigint   NOT NULL,
    refunded_minor         bigint   NOT NULL,
    owner                  uuid,
    created_time_ms        bigint   NOT NULL,
    answered_time_ms       bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id),
    CONSTRAINT amounts_in_order CHECK (0 <= refunded_minor AND refunded_minor <= captured_minor
                                       AND captured_minor <= approved_minor)
) PARTITION BY RANGE (id);

-- Finds what a dead process left open, by the time it was created, without costing the hot path an index entry.
CREATE INDEX authorizations_created ON authorizations USING brin (created_time_ms)
    WITH (pages_per_range = 128, autosummarize = on);

CREATE TABLE authorizations_default PARTITION OF authorizations DEFAULT WITH (fillfactor = 45);

-- What the hot path sends: arrays of these. One array of rows costs a third of the client's time that one array per
-- column costs (4 against 14 µs an authorization), and half of the server's. A new field is a new type: processes of
-- the version before still send the old one.
CREATE TYPE authorization_row AS (
    merchant_id            text,
    id                     uuid,
    acquirer_id            text,
    terminal_id            text,
    merchant_category_code text,
    operation              smallint,
    amount_minor           bigint,
    currency               text,
    entry                  smallint,
    masked_credential      text,
    fingerprint            bytea,
    payer_key              bytea,
    sealed_credential      bytea,
    state                  smallint,
    decision               smallint,
    response_code          text,
    reason                 text,
    stage                  text,
    channel                text,
    attempt                smallint,
    route_explanation      text,
    trace                  text,
    approval_code          text,
    retrieval_reference    text,
    channel_reference      text,
    emv_response           bytea,
    approved_minor         bigint,
    captured_minor         bigint,
    refunded_minor         bigint,
    owner                  uuid,
    created_time_ms        bigint,
    answered_time_ms       bigint
);

CREATE TYPE authorization_outcome AS (
    merchant_id         text,
    id                  uuid,
    owner               uuid,
    state               smallint,
    decision            smallint,
    response_code       text,
    reason              text,
    stage               text,
    approval_code       text,
    retrieval_reference text,
    channel_reference   text,
    emv_response        bytea,
    approved_minor      bigint,
    captured_minor      bigint,
    answered_time_ms    bigint,
    follow_up_after_ms  bigint
);

CREATE TYPE authorization_attempt AS (
    merchant_id       text,
    id                uuid,
    owner             uuid,
    channel           text,
    attempt           smallint,
    route_explanation text,
    trace             text
);
