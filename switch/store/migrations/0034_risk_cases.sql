-- Risk control's lists, alerts and cases (switch.risk.listing_desk, switch.risk.case_desk). They belong to no merchant:
-- on a distributed PostgreSQL they are reference tables. Nothing here is on the road: each process has the lists in
-- memory and asks about once a second what changed. Times are Unix milliseconds; keys are those of the counters.

-- One row, held by whoever changes a list: positions become visible in their order. live: entries on lists. purged: the
-- highest position of a row that was forgotten; who has not come so far loads everything anew.
CREATE TABLE risk_listings_turn (
    one      boolean PRIMARY KEY CHECK (one),
    position bigint  NOT NULL,
    purged   bigint  NOT NULL,
    live     bigint  NOT NULL
);

INSERT INTO risk_listings_turn (one, position, purged, live) VALUES (true, 0, 0, 0);

-- kind: switch.domain.risk.ListKind. shown: in clear, where it is no personal secret (an address that was given, a
-- merchant); else "". marking: TLP of what a partner sent, "" of our own. live: whether it is on the list; one that is
-- not is kept for a day, so that every process takes it off. position: of its last change.
CREATE TABLE risk_listings (
    kind            smallint NOT NULL,
    name            text     NOT NULL,
    subject         text     NOT NULL,
    key             text     NOT NULL,
    reason          text     NOT NULL,
    source          text     NOT NULL,
    shown           text     NOT NULL,
    marking         text     NOT NULL,
    expires_time_ms bigint   NOT NULL,
    batch_id        uuid     NOT NULL,
    created_by      text     NOT NULL,
    second          text     NOT NULL,
    changed_time_ms bigint   NOT NULL,
    live            boolean  NOT NULL,
    position        bigint   NOT NULL,
    PRIMARY KEY (subject, key, kind, name)
);

CREATE INDEX risk_listings_position ON risk_listings (position, subject, key, kind, name);
CREATE INDEX risk_listings_name ON risk_listings (name, kind, subject, key);
CREATE INDEX risk_listings_expiry ON risk_listings (expires_time_ms) WHERE live AND expires_time_ms > 0;
CREATE INDEX risk_listings_source ON risk_listings (source) WHERE live;
CREATE INDEX risk_listings_maker ON risk_listings (created_by, changed_time_ms) WHERE live;
CREATE INDEX risk_listings_gone ON risk_listings (changed_time_ms) WHERE NOT live;

-- Entries that were asked for together. state: switch.domain.risk_listing.BatchState. why: what a second person is to
-- look at. entries: JSON, while it waits; "" afterwards.
CREATE TABLE risk_listing_batches (
    id              uuid     PRIMARY KEY,
    kind            smallint NOT NULL,
    name            text     NOT NULL,
    reason          text     NOT NULL,
    source          text     NOT NULL,
    marking         text     NOT NULL,
    size            integer  NOT NULL,
    state           smallint NOT NULL,
    why             text[]   NOT NULL,
    entries         text     NOT NULL,
    created_by      text     NOT NULL,
    created_time_ms bigint   NOT NULL,
    decided_by      text     NOT NULL,
    decided_time_ms bigint   NOT NULL
);

CREATE INDEX risk_listing_batches_state ON risk_listing_batches (state, created_time_ms);

-- state: switch.domain.risk_case.CaseState. outcome: CaseOutcome, 0 for none yet. One case of a subject is open.
CREATE TABLE risk_cases (
    id             uuid     PRIMARY KEY,
    subject        text     NOT NULL,
    key            text     NOT NULL,
    state          smallint NOT NULL,
    severity       smallint NOT NULL,
    assigned_to    text     NOT NULL,
    outcome        smallint NOT NULL,
    alerts         integer  NOT NULL,
    opened_time_ms bigint   NOT NULL,
    last_time_ms   bigint   NOT NULL,
    closed_time_ms bigint   NOT NULL,
    version        integer  NOT NULL,
    CONSTRAINT severity_in_range CHECK (severity BETWEEN 1 AND 1000)
);

CREATE UNIQUE INDEX risk_cases_open ON risk_cases (subject, key) WHERE state = 1;
CREATE INDEX risk_cases_queue ON risk_cases (state, severity DESC, id DESC);
CREATE INDEX risk_cases_of ON risk_cases (subject, key);

-- count: how often it was told within its window. facts: JSON, for reading.
CREATE TABLE risk_alerts (
    id           text     PRIMARY KEY,
    case_id      uuid     NOT NULL REFERENCES risk_cases,
    kind         text     NOT NULL,
    severity     smallint NOT NULL,
    text         text     NOT NULL,
    facts        text     NOT NULL,
    count        integer  NOT NULL,
    time_ms      bigint   NOT NULL,
    last_time_ms bigint   NOT NULL
);

CREATE INDEX risk_alerts_case ON risk_alerts (case_id, last_time_ms);

-- The payments that a case is about: they get its outcome as their label.
CREATE TABLE risk_case_payments (
    case_id          uuid   NOT NULL REFERENCES risk_cases,
    merchant_id      text   NOT NULL,
    authorization_id uuid   NOT NULL,
    rule             text   NOT NULL,
    time_ms          bigint NOT NULL,
    PRIMARY KEY (case_id, merchant_id, authorization_id)
);

-- Its history, only added to. number: 1, 2, … within the case.
CREATE TABLE risk_case_events (
    case_id uuid    NOT NULL REFERENCES risk_cases,
    number  integer NOT NULL,
    who     text    NOT NULL,
    act     text    NOT NULL,
    text    text    NOT NULL,
    time_ms bigint  NOT NULL,
    PRIMARY KEY (case_id, number)
);

-- What partners sent (STIX 2.1): each id in its last version. revoked: it keeps no entry on a list any more.
CREATE TABLE risk_shared_objects (
    partner         text    NOT NULL,
    stix_id         text    NOT NULL,
    modified        text    NOT NULL,
    revoked         boolean NOT NULL,
    kind            smallint NOT NULL,
    name            text    NOT NULL,
    subject         text    NOT NULL,
    key             text    NOT NULL,
    PRIMARY KEY (partner, stix_id)
);

CREATE INDEX risk_shared_objects_entry ON risk_shared_objects (subject, key, kind, name) WHERE NOT revoked;

-- Chargebacks for fraud label their payments.
CREATE INDEX disputes_fraud ON disputes (merchant_id, authorization_id) WHERE kind = 2 AND category = 1;
