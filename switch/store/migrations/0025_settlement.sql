-- Settlement (switch.domain.settlement). Times are Unix milliseconds, states those of PayoutState.

-- One row: whoever sets money aside holds it, so that no balance is settled twice.
CREATE TABLE settlement_turn (
    one boolean PRIMARY KEY CHECK (one)
);

INSERT INTO settlement_turn (one) VALUES (true);

-- id: computed from the idempotency key. message_id, debtor_…, execution_day: what the payout file says, fixed when the
-- batch is released, so that every copy of the file is the same. digests: SHA-256 of the files that were handed out.
CREATE TABLE settlement_batches (
    id                uuid     PRIMARY KEY,
    currency          text     NOT NULL,
    through_day       date     NOT NULL,
    state             smallint NOT NULL,
    payouts           bigint   NOT NULL,
    total_minor       bigint   NOT NULL,
    reserve_minor     bigint   NOT NULL,
    created_by        text     NOT NULL,
    created_time_ms   bigint   NOT NULL,
    decided_by        text     NOT NULL DEFAULT '',
    decided_time_ms   bigint   NOT NULL DEFAULT 0,
    reason            text     NOT NULL DEFAULT '',
    execution_day     date,
    debtor_name       text     NOT NULL DEFAULT '',
    debtor_account    text     NOT NULL DEFAULT '',
    debtor_bank_code  text     NOT NULL DEFAULT '',
    csv_digest        bytea    NOT NULL DEFAULT '',
    pain_digest       bytea    NOT NULL DEFAULT ''
);

CREATE INDEX settlement_batches_time ON settlement_batches (created_time_ms, id);

-- sealed_number: the account number under the HSM key merchants/seal, bound to merchant and batch.
CREATE TABLE settlement_payouts (
    merchant_id    text     NOT NULL,
    batch_id       uuid     NOT NULL,
    currency       text     NOT NULL,
    state          smallint NOT NULL,
    net_minor      bigint   NOT NULL,
    reserve_minor  bigint   NOT NULL,
    payout_minor   bigint   NOT NULL,
    account_name   text     NOT NULL,
    sealed_number  bytea    NOT NULL,
    masked_number  text     NOT NULL,
    bank_code      text     NOT NULL,
    end_to_end_id  text     NOT NULL,
    created_time_ms bigint  NOT NULL,
    changed_time_ms bigint  NOT NULL,
    reason         text     NOT NULL DEFAULT '',
    PRIMARY KEY (merchant_id, batch_id),
    CONSTRAINT adds_up CHECK (net_minor = reserve_minor + payout_minor AND payout_minor > 0 AND reserve_minor >= 0)
);

CREATE INDEX settlement_payouts_batch ON settlement_payouts (batch_id, merchant_id);

-- Who had a balance and was left out of a batch, and why. balance_minor: what could have been settled; negative: owed.
CREATE TABLE settlement_left_out (
    merchant_id   text   NOT NULL,
    batch_id      uuid   NOT NULL,
    balance_minor bigint NOT NULL,
    reason        text   NOT NULL,
    PRIMARY KEY (merchant_id, batch_id)
);

CREATE INDEX settlement_left_out_batch ON settlement_left_out (batch_id, merchant_id);

-- What was held back, until the day on whose closing it is given back. released_time_ms: null until then.
CREATE TABLE settlement_reserves (
    merchant_id      text   NOT NULL,
    batch_id         uuid   NOT NULL,
    currency         text   NOT NULL,
    amount_minor     bigint NOT NULL,
    release_day      date   NOT NULL,
    released_time_ms bigint,
    PRIMARY KEY (merchant_id, batch_id)
);

CREATE INDEX settlement_reserves_due ON settlement_reserves (release_day) WHERE released_time_ms IS NULL;
