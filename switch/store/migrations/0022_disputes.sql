-- Disputes (switch.domain.dispute). Amounts are minor units of the payment's currency; times Unix milliseconds. case_number
-- is the channel's own: the id is computed from it, the kind and the payment, so that each case is there once.
CREATE TABLE disputes (
    merchant_id      text     NOT NULL,
    id               uuid     NOT NULL,
    authorization_id uuid     NOT NULL,
    channel          text     NOT NULL,
    kind             smallint NOT NULL,
    state            smallint NOT NULL,
    case_number      text     NOT NULL,
    amount_minor     bigint   NOT NULL,
    currency         text     NOT NULL,
    reason_code      text     NOT NULL,
    category         smallint NOT NULL,
    text             text     NOT NULL,
    statement        text     NOT NULL,
    outcome          text     NOT NULL,
    opened_by        text     NOT NULL,
    opened_time_ms   bigint   NOT NULL,
    due_time_ms      bigint   NOT NULL,
    ended_time_ms    bigint   NOT NULL,
    version          integer  NOT NULL,
    PRIMARY KEY (merchant_id, id),
    CONSTRAINT positive CHECK (amount_minor > 0)
);

CREATE INDEX disputes_of ON disputes (merchant_id, authorization_id);

-- What a deadline ends: the merchant's turn (1, 3) and the issuer's (2).
CREATE INDEX disputes_due ON disputes (due_time_ms) WHERE state IN (1, 2, 3);

CREATE TABLE dispute_evidence (
    merchant_id  text    NOT NULL,
    dispute_id   uuid    NOT NULL,
    id           uuid    NOT NULL,
    name         text    NOT NULL,
    content_type text    NOT NULL,
    size_bytes   integer NOT NULL,
    sha256       bytea   NOT NULL,
    who          text    NOT NULL,
    time_ms      bigint  NOT NULL,
    content      bytea   NOT NULL,
    PRIMARY KEY (merchant_id, dispute_id, id)
);
