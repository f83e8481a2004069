-- What risk control judged of every payment, and on what (switch.domain.risk.Judgement). Written in the statement that
-- records the intent, never changed. A day is a partition, like the journal's.
--
-- facts: msgpack, number of the fact (switch.risk.facts.NUMBER) -> value. subjects: msgpack, name -> key. Scores are
-- thousandths; model_score: NULL without a model. time_ms: Unix milliseconds, when it was judged.
CREATE TABLE risk_judgements (
    merchant_id   text     NOT NULL,
    id            uuid     NOT NULL,
    outcome       smallint NOT NULL,
    response_code text     NOT NULL,
    score         smallint NOT NULL,
    model_score   smallint,
    rules_version integer  NOT NULL,
    model_version integer  NOT NULL,
    fired         text[]   NOT NULL,
    shadow        text[]   NOT NULL,
    absent        text[]   NOT NULL,
    failed        text[]   NOT NULL DEFAULT '{}',
    facts         bytea    NOT NULL,
    subjects      bytea    NOT NULL,
    amount_minor  bigint   NOT NULL,
    currency      text     NOT NULL,
    time_ms       bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
) PARTITION BY RANGE (id);

CREATE INDEX risk_judgements_time ON risk_judgements USING brin (time_ms)
    WITH (pages_per_range = 128, autosummarize = on);

CREATE TABLE risk_judgements_default PARTITION OF risk_judgements DEFAULT;

-- What the hot path sends, as `authorization_row`.
CREATE TYPE risk_judgement_row AS (
    merchant_id   text,
    id            uuid,
    outcome       smallint,
    response_code text,
    score         smallint,
    model_score   smallint,
    rules_version integer,
    model_version integer,
    fired         text[],
    shadow        text[],
    absent        text[],
    failed        text[],
    facts         bytea,
    subjects      bytea,
    amount_minor  bigint,
    currency      text,
    time_ms       bigint
);
