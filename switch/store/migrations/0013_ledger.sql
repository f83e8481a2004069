-- The ledger (switch.domain.ledger): one row per leg, only ever added. A transaction's legs sum to zero; debits are
-- positive. No balance is kept in a row that is updated: balances are sums, and closed days are summed up once
-- (ledger_days, and as running balances ledger_balances).
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

-- A merchant's days: statements, balances.
CREATE INDEX ledger_entries_merchant ON ledger_entries (merchant_id, day);
-- Everybody's day: closing. Entries come in the order of their days, so a few pages' bounds are index enough.
CREATE INDEX ledger_entries_day ON ledger_entries USING brin (day) WITH (pages_per_range = 32, autosummarize = on);

-- One row. Whoever enters holds it FOR SHARE until he commits, whoever seals a day updates it: once a day is sealed
-- nobody enters into it any more, and what would have been of that day is of the next.
-- sealed_through: no entry has this day or one before any more; closed_through: those are summed. Both null at first.
CREATE TABLE ledger_books (
    one            boolean PRIMARY KEY CHECK (one),
    sealed_through date,
    closed_through date
);

INSERT INTO ledger_books (one) VALUES (true);

-- One row: the last of the journal's events that was entered. Events up to it that come again are passed over.
CREATE TABLE ledger_followed (
    one      boolean PRIMARY KEY CHECK (one),
    position bigint  NOT NULL
);

INSERT INTO ledger_followed (one, position) VALUES (true, 0);

-- What a merchant was paid in a calendar month (Asia/Shanghai), refunds not subtracted: the next month's tier.
CREATE TABLE ledger_volumes (
    merchant_id  text   NOT NULL,
    currency     text   NOT NULL,
    month        text   NOT NULL,
    volume_minor bigint NOT NULL,
    PRIMARY KEY (merchant_id, currency, month)
);

-- Payments that were entered without a fee because no contract, or no line of it, told one. day: of the event.
CREATE TABLE ledger_unpriced (
    merchant_id  text   NOT NULL,
    day          date   NOT NULL,
    currency     text   NOT NULL,
    payments     bigint NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (merchant_id, day, currency)
);

-- A sealed day; closed_time_ms is null until it is summed. digest: SHA-256 of the digest before it and of every entry
-- of the day in order (docs/ledger.md). previous_day: null for the first.
CREATE TABLE ledger_closings (
    day            date   PRIMARY KEY,
    previous_day   date,
    sealed_time_ms bigint NOT NULL,
    sealed_by      text   NOT NULL,
    position       bigint NOT NULL,
    closed_time_ms bigint,
    transactions   bigint NOT NULL DEFAULT 0,
    entries        bigint NOT NULL DEFAULT 0,
    digest         bytea  NOT NULL DEFAULT ''
);

-- A closed day's sums, written once.
CREATE TABLE ledger_days (
    merchant_id  text     NOT NULL,
    day          date     NOT NULL,
    currency     text     NOT NULL,
    account      text     NOT NULL,
    kind         smallint NOT NULL,
    amount_minor bigint   NOT NULL,
    entries      bigint   NOT NULL,
    PRIMARY KEY (merchant_id, day, currency, account, kind)
);

CREATE INDEX ledger_days_day ON ledger_days (day);

-- Each account's balance at the end of closed_through: updated by closing alone, once a day.
CREATE TABLE ledger_balances (
    merchant_id  text   NOT NULL,
    currency     text   NOT NULL,
    account      text   NOT NULL,
    balance_minor bigint NOT NULL,
    PRIMARY KEY (merchant_id, currency, account)
);

CREATE INDEX ledger_balances_account ON ledger_balances (account, currency);
