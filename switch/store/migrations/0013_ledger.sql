-- The ledger (switch.domain.ledger): one row per leg, only ever added. A transaction's legs sum to zero; debits are
-- positive. No balance is kept in a row that is updated: balances are sums, and closed days are summed up once
-- (ledger_days).
CREATE TABLE ledger_entries (
    merchant_id      text     NOT NULL,
    transaction_id   uuid     NOT NULL,
    leg              smallint NOT NULL,
    day              date     NOT NULL,
    kind             smallint NOT NULL,
    account          text     NOT NULL,
    amount_minor     bigint   NOT NULL,
    currency         text     NOT NULL,
    authorization_id uuid,
    source           text     NOT NULL,
    time_ms          bigint   NOT NULL,
    PRIMARY KEY (merchant_id, transaction_id, leg),
    CONSTRAINT no_empty_leg CHECK (amount_minor <> 0)
);

CREATE INDEX ledger_entries_day ON ledger_entries (day, merchant_id);
