-- Risk control's desk (switch.risk.desk): rule sets and models, their replays, and what payments turned out to be.
--
-- Rule sets, models and replays belong to no merchant: on a distributed PostgreSQL they are reference tables. Nothing here
-- is on the road; each process asks about once a second which version is live. Times are Unix milliseconds.

-- kind, state: switch.domain.risk_release. sha256: of the content, which is in chunks and never changed. Version 0 is the
-- program's own (the starter rules; no model) and has no row. replaces: what was live when it was approved.
CREATE TABLE risk_releases (
    kind             smallint NOT NULL,
    version          integer  NOT NULL,
    name             text     NOT NULL,
    sha256           bytea    NOT NULL,
    size_bytes       bigint   NOT NULL,
    chunks           integer  NOT NULL,
    state            smallint NOT NULL,
    created_by       text     NOT NULL,
    created_time_ms  bigint   NOT NULL,
    approved_by      text     NOT NULL,
    approved_time_ms bigint   NOT NULL,
    replay_id        uuid,
    replaces         integer  NOT NULL,
    changed_by       text     NOT NULL,
    changed_time_ms  bigint   NOT NULL,
    PRIMARY KEY (kind, version),
    CONSTRAINT version_is_positive CHECK (version > 0)
);

-- One row: whoever changes what is live holds it, so that nothing goes live beside something it was not replayed with.
CREATE TABLE risk_desk_turn (
    one boolean PRIMARY KEY CHECK (one)
);

INSERT INTO risk_desk_turn (one) VALUES (true);

CREATE UNIQUE INDEX risk_releases_live ON risk_releases (kind) WHERE state = 3;

CREATE TABLE risk_release_chunks (
    kind    smallint NOT NULL,
    version integer  NOT NULL,
    number  integer  NOT NULL,
    content bytea    NOT NULL,
    PRIMARY KEY (kind, version, number),
    FOREIGN KEY (kind, version) REFERENCES risk_releases
);

-- live_rules, live_model: what was live when it began. report: JSON (switch.domain.risk_replay), NULL until it is done.
-- beat_time_ms: its process writes it every few seconds; a running one that is not heard of has failed.
CREATE TABLE risk_replays (
    id              uuid     PRIMARY KEY,
    kind            smallint NOT NULL,
    version         integer  NOT NULL,
    sha256          bytea    NOT NULL,
    live_rules      integer  NOT NULL,
    live_model      integer  NOT NULL,
    from_time_ms    bigint   NOT NULL,
    to_time_ms      bigint   NOT NULL,
    state           smallint NOT NULL,
    started_by      text     NOT NULL,
    started_time_ms bigint   NOT NULL,
    beat_time_ms    bigint   NOT NULL,
    ended_time_ms   bigint   NOT NULL,
    judged          bigint   NOT NULL,
    failure         text     NOT NULL,
    report          text
);

CREATE INDEX risk_replays_release ON risk_replays (kind, version, started_time_ms);

-- What a payment turned out to be (switch.domain.risk.Label), by who says so: "dispute", "case", an import. Of several
-- the latest counts.
CREATE TABLE risk_labels (
    merchant_id      text     NOT NULL,
    authorization_id uuid     NOT NULL,
    source           text     NOT NULL,
    label            smallint NOT NULL,
    time_ms          bigint   NOT NULL,
    PRIMARY KEY (merchant_id, authorization_id, source)
);
