-- Direct issuers: where the switch processes are that they dial, and what was approved in an issuer's place.

-- host:port, once the process serves; empty while it does not.
ALTER TABLE processes ADD COLUMN address text NOT NULL DEFAULT '';

-- One row per issuer for which the switch stands in: whoever approves holds its lock, so that the processes count one
-- after the other. It is locked and never changed.
CREATE TABLE stand_in_issuers (
    issuer_id text PRIMARY KEY
);

-- Every stand-in approval, and the advice that is owed for it: one row is one of each. The distribution key, issuer_id,
-- leads every key. Rows are added and counted; only the advice's progress changes. Times are Unix milliseconds.
-- payer_key: keyed hash of the PAN. advice_code: what the issuer answered the advice, empty until it has.
CREATE TABLE stand_in_approvals (
    issuer_id        text     NOT NULL,
    message_id       text     NOT NULL,
    payer_key        bytea    NOT NULL,
    amount_minor     bigint   NOT NULL CHECK (amount_minor > 0),
    currency         text     NOT NULL,
    merchant_id      text     NOT NULL,
    authorization_id uuid     NOT NULL,
    approval_code    text     NOT NULL,
    approved_time_ms bigint   NOT NULL,
    advice_code      text     NOT NULL DEFAULT '',
    attempts         integer  NOT NULL DEFAULT 0,
    due_time_ms      bigint   NOT NULL,
    lease_owner      uuid,
    lease_until_ms   bigint   NOT NULL DEFAULT 0,
    fence            bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (issuer_id, message_id)
) WITH (fillfactor = 85);

-- The counts of a window, of all cards and of one.
CREATE INDEX stand_in_approvals_time ON stand_in_approvals (issuer_id, approved_time_ms) INCLUDE (amount_minor);
CREATE INDEX stand_in_approvals_card ON stand_in_approvals (issuer_id, payer_key, approved_time_ms)
    INCLUDE (amount_minor);
-- The advices that are owed.
CREATE INDEX stand_in_approvals_owed ON stand_in_approvals (issuer_id, due_time_ms) WHERE advice_code = '';
