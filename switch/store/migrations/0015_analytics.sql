-- A merchant's trade in roll-ups (switch.domain.analytics), kept from journal_events. day: business day, Asia/Shanghai.

-- One row per day and value of a dimension (1 hour, 2 channel, 3 entry mode, 4 terminal, 5 response code of declines,
-- 6 basket size, 7 none): the day's sums over all events of that value. 8: a terminal's calendar month, by its first
-- day. Minor units.
CREATE TABLE analytics_days (
    merchant_id      text     NOT NULL,
    currency         text     NOT NULL,
    dimension        smallint NOT NULL,
    day              date     NOT NULL,
    key              text     NOT NULL,
    approved_count   bigint   NOT NULL,
    declined_count   bigint   NOT NULL,
    unanswered_count bigint   NOT NULL,
    sales_count      bigint   NOT NULL,
    sales_minor      bigint   NOT NULL,
    refunds_count    bigint   NOT NULL,
    refunds_minor    bigint   NOT NULL,
    undone_count     bigint   NOT NULL,
    undone_minor     bigint   NOT NULL,
    PRIMARY KEY (merchant_id, currency, dimension, day, key)
) WITH (fillfactor = 70);

-- The days on which a payer bought; payer_key is the journal's keyed hash of the credential.
CREATE TABLE analytics_payers (
    merchant_id text  NOT NULL,
    currency    text  NOT NULL,
    payer_key   bytea NOT NULL,
    day         date  NOT NULL,
    PRIMARY KEY (merchant_id, currency, payer_key, day)
);

-- How many payers bought on a day whose day before that was previous_day (-infinity: they were new; infinity: all who
-- bought on that day). Those of a range of days are the sum over its days of the rows whose previous_day is before the
-- range: each payer is counted on his first day within it.
CREATE TABLE analytics_returns (
    merchant_id  text   NOT NULL,
    currency     text   NOT NULL,
    day          date   NOT NULL,
    previous_day date   NOT NULL,
    payers       bigint NOT NULL,
    PRIMARY KEY (merchant_id, currency, day, previous_day)
) WITH (fillfactor = 70);
