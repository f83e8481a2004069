-- Reconciliation: the channels' bills, what comparing them came to, and the breaks. Distribution key: channel. Times are
-- Unix milliseconds, amounts minor units; kinds: 1 payment, 2 refund, 3 reversal.

-- One row per bill of a day that differed from the one before. digest: SHA-256 over the lines.
CREATE TABLE bills (
    channel      text    NOT NULL,
    day          date    NOT NULL,
    version      integer NOT NULL,
    digest       bytea   NOT NULL,
    lines        integer NOT NULL,
    who          text    NOT NULL,
    kept_time_ms bigint  NOT NULL,
    PRIMARY KEY (channel, day, version)
);

CREATE TABLE bill_lines (
    channel            text     NOT NULL,
    day                date     NOT NULL,
    version            integer  NOT NULL,
    number             integer  NOT NULL,
    kind               smallint NOT NULL,
    reference          text     NOT NULL,
    original_reference text     NOT NULL,
    channel_reference  text     NOT NULL,
    amount_minor       bigint   NOT NULL,
    currency           text     NOT NULL,
    fee_minor          bigint   NOT NULL,
    time_ms            bigint   NOT NULL,
    PRIMARY KEY (channel, day, version, number)
);

-- One row per channel and day: the lease of whoever works at it, and what it came to. next_time_ms: when the daily
-- runner looks at it again, NULL: never by itself. counts, sides: JSON.
CREATE TABLE reconciliations (
    channel          text    NOT NULL,
    day              date    NOT NULL,
    bill_version     integer NOT NULL DEFAULT 0,
    compared_time_ms bigint  NOT NULL DEFAULT 0,
    runs             integer NOT NULL DEFAULT 0,
    counts           text    NOT NULL DEFAULT '{}',
    sides            text    NOT NULL DEFAULT '{}',
    trouble          text    NOT NULL DEFAULT '',
    attempts         integer NOT NULL DEFAULT 0,
    next_time_ms     bigint           DEFAULT 0,
    lease_until_ms   bigint  NOT NULL DEFAULT 0,
    fence            bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (channel, day)
);

-- What of a day's fees is in the ledger, so that another bill of that day enters the difference.
CREATE TABLE channel_fees (
    channel      text    NOT NULL,
    day          date    NOT NULL,
    currency     text    NOT NULL,
    posted_minor bigint  NOT NULL,
    revision     integer NOT NULL,
    PRIMARY KEY (channel, day, currency)
);

-- Lines of a day's bill that were matched by a record of the neighbouring day.
CREATE TABLE bill_edges (
    channel   text     NOT NULL,
    day       date     NOT NULL,
    kind      smallint NOT NULL,
    reference text     NOT NULL,
    PRIMARY KEY (channel, day, kind, reference)
);

-- switch.domain.reconciliation.Break. id begins with the day's first millisecond. revision: of what was entered into the
-- ledger for it. paired_id: the break of another day that explains it. refindable: closed because a comparison did not
-- find it any more, so that one that does opens it again.
CREATE TABLE breaks (
    channel           text     NOT NULL,
    id                uuid     NOT NULL,
    day               date     NOT NULL,
    class             smallint NOT NULL,
    state             smallint NOT NULL,
    kind              smallint NOT NULL,
    reference         text     NOT NULL,
    names             text[]   NOT NULL,
    detail            text     NOT NULL,
    record            text     NOT NULL,
    merchant_id       text     NOT NULL,
    authorization_id  uuid,
    our_minor         bigint,
    our_currency      text     NOT NULL,
    their_minor       bigint,
    their_currency    text     NOT NULL,
    time_ms           bigint   NOT NULL,
    difference_minor  bigint   NOT NULL,
    currency          text     NOT NULL,
    channel_reference text     NOT NULL,
    neighbour         date,
    suspense_minor    bigint   NOT NULL DEFAULT 0,
    revision          integer  NOT NULL DEFAULT 0,
    assignee          text     NOT NULL DEFAULT '',
    proposed_by       text     NOT NULL DEFAULT '',
    reason            text     NOT NULL DEFAULT '',
    paired_id         uuid,
    refindable        boolean  NOT NULL DEFAULT false,
    opened_time_ms    bigint   NOT NULL,
    closed_time_ms    bigint   NOT NULL DEFAULT 0,
    closed_by         text     NOT NULL DEFAULT '',
    PRIMARY KEY (channel, id)
);

CREATE INDEX breaks_day ON breaks (channel, day);

CREATE INDEX breaks_active ON breaks (channel, opened_time_ms) WHERE state IN (1, 2, 3);

CREATE TABLE break_notes (
    channel  text   NOT NULL,
    break_id uuid   NOT NULL,
    id       uuid   NOT NULL,
    who      text   NOT NULL,
    text     text   NOT NULL,
    time_ms  bigint NOT NULL,
    PRIMARY KEY (channel, break_id, id)
);
