-- Where a merchant wants to be told, and what it was told (switch.domain.webhook). Times are Unix milliseconds.

-- secret: sealed by the HSM; previous_secret: signs as well until previous_until_ms. failures: in a row, since
-- failing_since_ms (0: the last attempt was taken). circuit_until_ms: nothing is sent before.
CREATE TABLE webhook_endpoints (
    merchant_id       text     NOT NULL,
    id                uuid     NOT NULL,
    url               text     NOT NULL,
    description       text     NOT NULL,
    event_types       text[]   NOT NULL,
    state             smallint NOT NULL,
    secret            bytea    NOT NULL,
    previous_secret   bytea    NOT NULL,
    previous_until_ms bigint   NOT NULL,
    failures          integer  NOT NULL,
    failing_since_ms  bigint   NOT NULL,
    circuit_until_ms  bigint   NOT NULL,
    created_time_ms   bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- Those that may be switched off.
CREATE INDEX webhook_endpoints_failing ON webhook_endpoints (failing_since_ms)
    WHERE state = 1 AND failing_since_ms > 0;

-- One message to one endpoint. id is computed from the event and the endpoint: the webhook-id that the receiver sees,
-- the same in every attempt and replay. payload: the very text that is signed and sent. due_time_ms: when it is next
-- tried or, while a worker has it, when that worker is given up; fence: counts who has had it. expires_time_ms: it is
-- dead afterwards.
CREATE TABLE webhook_deliveries (
    merchant_id     text     NOT NULL,
    id              uuid     NOT NULL,
    endpoint_id     uuid     NOT NULL,
    event_type      text     NOT NULL,
    payload         text     NOT NULL,
    state           smallint NOT NULL,
    attempts        integer  NOT NULL,
    tries           integer  NOT NULL,
    due_time_ms     bigint   NOT NULL,
    expires_time_ms bigint   NOT NULL,
    fence           integer  NOT NULL,
    created_time_ms bigint   NOT NULL,
    ended_time_ms   bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- Each endpoint's own queue: one that hangs hides no other's.
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (merchant_id, endpoint_id, due_time_ms) WHERE state = 1;
CREATE INDEX webhook_deliveries_of ON webhook_deliveries (merchant_id, endpoint_id, id);
CREATE INDEX webhook_deliveries_in ON webhook_deliveries (merchant_id, endpoint_id, state, id);

-- The delivery log. status: of HTTP, 0 where there was no answer. failure: "" if it was taken. answer: at most 1 KB.
CREATE TABLE webhook_attempts (
    merchant_id text     NOT NULL,
    delivery_id uuid     NOT NULL,
    number      integer  NOT NULL,
    time_ms     bigint   NOT NULL,
    latency_ms  integer  NOT NULL,
    status      smallint NOT NULL,
    failure     text     NOT NULL,
    answer      text     NOT NULL,
    PRIMARY KEY (merchant_id, delivery_id, number)
);

-- Endpoints that were switched off, for whoever tells the merchant.
CREATE TABLE webhook_alerts (
    merchant_id text   NOT NULL,
    endpoint_id uuid   NOT NULL,
    time_ms     bigint NOT NULL,
    kind        text   NOT NULL,
    PRIMARY KEY (merchant_id, endpoint_id, time_ms)
);
