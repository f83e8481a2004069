-- Orders (switch.domain.order). The distribution key, merchant_id, leads every key. Times are Unix milliseconds, amounts
-- minor units.
CREATE TABLE orders (
    merchant_id            text     NOT NULL,
    id                     uuid     NOT NULL,
    acquirer_id            text     NOT NULL,
    terminal_id            text     NOT NULL,
    store_id               text     NOT NULL,
    merchant_name          text     NOT NULL,
    merchant_city          text     NOT NULL,
    merchant_country       text     NOT NULL,
    merchant_category_code text     NOT NULL,
    amount_minor           bigint   NOT NULL CHECK (amount_minor > 0),
    currency               text     NOT NULL,
    subject                text     NOT NULL,
    number                 text     NOT NULL,
    key                    text     NOT NULL,
    content                bytea    NOT NULL,
    created_by             text     NOT NULL,
    created_time_ms        bigint   NOT NULL,
    expires_time_ms        bigint   NOT NULL,
    state                  smallint NOT NULL,
    shop_code              uuid,
    paid_by                uuid,
    paid_scheme            text     NOT NULL,
    refunded_minor         bigint   NOT NULL,
    changed_time_ms        bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id),
    CONSTRAINT paid_by_one CHECK ((paid_by IS NOT NULL) = (state IN (3, 6, 7)))
) WITH (fillfactor = 85);

CREATE UNIQUE INDEX orders_key ON orders (merchant_id, key);
CREATE INDEX orders_number ON orders (merchant_id, number, id) WHERE number <> '';
-- What may still expire.
CREATE INDEX orders_expiring ON orders (expires_time_ms) WHERE state IN (1, 2);

-- Every try to pay an order: a row is the authorization of that id, begun before it is asked for. Open ones (BEGUN 1,
-- AWAITING 2, UNDOING 5) are work that is leased until they end.
CREATE TABLE order_payments (
    merchant_id          text     NOT NULL,
    authorization_id     uuid     NOT NULL,
    order_id             uuid     NOT NULL,
    acquirer_id          text     NOT NULL,
    scheme               text     NOT NULL,
    payer                text     NOT NULL,
    payer_key            text     NOT NULL,
    entry                smallint NOT NULL,
    key                  text     NOT NULL,
    transmission_time_ms bigint   NOT NULL,
    state                smallint NOT NULL,
    code                 text     NOT NULL,
    response_code        text     NOT NULL,
    reason               text     NOT NULL,
    undo_number          integer  NOT NULL,
    undo_time_ms         bigint   NOT NULL,
    refunded_minor       bigint   NOT NULL,
    attempts             integer  NOT NULL,
    due_time_ms          bigint   NOT NULL,
    lease_until_ms       bigint   NOT NULL,
    fence                bigint   NOT NULL,
    PRIMARY KEY (merchant_id, authorization_id)
) WITH (fillfactor = 85);

CREATE INDEX order_payments_order ON order_payments (merchant_id, order_id);
CREATE INDEX order_payments_due ON order_payments (due_time_ms) WHERE state IN (1, 2, 5);
-- At most one payment wins an order.
CREATE UNIQUE INDEX order_payments_won ON order_payments (merchant_id, order_id) WHERE state = 3;

-- Printed codes, where the payer enters the amount.
CREATE TABLE shop_codes (
    merchant_id     text    NOT NULL,
    id              uuid    NOT NULL,
    store_id        text    NOT NULL,
    terminal_id     text    NOT NULL,
    label           text    NOT NULL,
    currency        text    NOT NULL,
    version         integer NOT NULL,
    created_by      text    NOT NULL,
    created_time_ms bigint  NOT NULL,
    revoked_time_ms bigint  NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

CREATE UNIQUE INDEX shop_codes_version ON shop_codes (merchant_id, store_id, terminal_id, version);
