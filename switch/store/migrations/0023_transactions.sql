-- What a merchant's people see and search: one row per payment that was answered, written by the consumer
-- "transactions" from the journal's events and the journal's row (switch.store.transactions). It can be made anew from
-- them: empty it and delete the consumer's cursor.
--
-- id is the payment's own id and begins with the millisecond of its transmission time: newest first is its descending
-- order, a time range is a range of ids. Amounts are minor units of currency. captured_minor, refunded_minor: without
-- what is still on its way. card_first6, card_last4: "" where there is no card. checked_time_ms: when a row that may
-- change without an event (state 1, 2, 5, 8) was last compared with the journal.
--
-- A refund touches no indexed column: pages keep some room, so that it stays in its page (HOT).
--
-- Every index ends in id, so that each filter by one field is a walk that stops when the page is full.
CREATE TABLE merchant_transactions (
    merchant_id         text     NOT NULL,
    id                  uuid     NOT NULL,
    created_time_ms     bigint   NOT NULL,
    answered_time_ms    bigint   NOT NULL,
    checked_time_ms     bigint   NOT NULL,
    amount_minor        bigint   NOT NULL,
    approved_minor      bigint   NOT NULL,
    captured_minor      bigint   NOT NULL,
    refunded_minor      bigint   NOT NULL,
    operation           smallint NOT NULL,
    entry               smallint NOT NULL,
    state               smallint NOT NULL,
    currency            text     NOT NULL,
    acquirer_id         text     NOT NULL,
    terminal_id         text     NOT NULL,
    channel             text     NOT NULL,
    response_code       text     NOT NULL,
    reason              text     NOT NULL,
    approval_code       text     NOT NULL,
    retrieval_reference text     NOT NULL,
    channel_reference   text     NOT NULL,
    reference           text     NOT NULL,
    masked_credential   text     NOT NULL,
    card_first6         text     NOT NULL,
    card_last4          text     NOT NULL,
    payer_key           bytea    NOT NULL,
    PRIMARY KEY (merchant_id, id)
) WITH (fillfactor = 90);

CREATE INDEX merchant_transactions_state ON merchant_transactions (merchant_id, state, id);
CREATE INDEX merchant_transactions_channel ON merchant_transactions (merchant_id, channel, id);
CREATE INDEX merchant_transactions_entry ON merchant_transactions (merchant_id, entry, id);
CREATE INDEX merchant_transactions_terminal ON merchant_transactions (merchant_id, terminal_id, id);
CREATE INDEX merchant_transactions_response ON merchant_transactions (merchant_id, response_code, id);
CREATE INDEX merchant_transactions_amount ON merchant_transactions (merchant_id, currency, amount_minor, id);
CREATE INDEX merchant_transactions_approval ON merchant_transactions (merchant_id, approval_code, id)
    WHERE approval_code <> '';
CREATE INDEX merchant_transactions_retrieval ON merchant_transactions (merchant_id, retrieval_reference, id)
    WHERE retrieval_reference <> '';
CREATE INDEX merchant_transactions_at_channel ON merchant_transactions (merchant_id, channel_reference, id)
    WHERE channel_reference <> '';
CREATE INDEX merchant_transactions_reference ON merchant_transactions (merchant_id, reference, id)
    WHERE reference <> '';
CREATE INDEX merchant_transactions_first6 ON merchant_transactions (merchant_id, card_first6, id)
    WHERE card_first6 <> '';
CREATE INDEX merchant_transactions_last4 ON merchant_transactions (merchant_id, card_last4, id)
    WHERE card_last4 <> '';
CREATE INDEX merchant_transactions_payer ON merchant_transactions (merchant_id, payer_key, id)
    WHERE payer_key <> '';

-- Those that may change without an event.
CREATE INDEX merchant_transactions_open ON merchant_transactions (checked_time_ms) WHERE state IN (1, 2, 5, 8);

-- Refunds that a merchant's people asked for (switch.domain.refund). follow_on_id, transmission_time_ms: of the refund
-- on the road; nil and 0 until it may go there. counted: it is part of its day's sum (refund_days).
CREATE TABLE merchant_refunds (
    merchant_id          text     NOT NULL,
    id                   uuid     NOT NULL,
    authorization_id     uuid     NOT NULL,
    idempotency_key      text     NOT NULL,
    amount_minor         bigint   NOT NULL CHECK (amount_minor > 0),
    currency             text     NOT NULL,
    reason               text     NOT NULL,
    state                smallint NOT NULL,
    requested_by         text     NOT NULL,
    requested_role       smallint NOT NULL,
    decided_by           text     NOT NULL,
    decision_reason      text     NOT NULL,
    day                  date     NOT NULL,
    counted              boolean  NOT NULL,
    follow_on_id         uuid     NOT NULL,
    acquirer_id          text     NOT NULL,
    transmission_time_ms bigint   NOT NULL,
    response_code        text     NOT NULL,
    response_reason      text     NOT NULL,
    created_time_ms      bigint   NOT NULL,
    changed_time_ms      bigint   NOT NULL,
    due_time_ms          bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

CREATE UNIQUE INDEX merchant_refunds_key ON merchant_refunds (merchant_id, idempotency_key);
CREATE INDEX merchant_refunds_of ON merchant_refunds (merchant_id, authorization_id);
CREATE INDEX merchant_refunds_state ON merchant_refunds (merchant_id, state, id);
CREATE INDEX merchant_refunds_follow_on ON merchant_refunds (merchant_id, follow_on_id);
-- On their way (SENDING 2, PENDING 3): what a dead process left, or the channel has not answered.
CREATE INDEX merchant_refunds_due ON merchant_refunds (due_time_ms) WHERE state IN (2, 3);

-- Who may refund how much by himself. holder: a role's name, or a person or credential as the audit trail names it.
CREATE TABLE refund_limits (
    merchant_id   text   NOT NULL,
    holder        text   NOT NULL,
    currency      text   NOT NULL,
    each_minor    bigint NOT NULL CHECK (each_minor >= 0),
    day_minor     bigint NOT NULL CHECK (day_minor >= 0),
    step_up_minor bigint NOT NULL CHECK (step_up_minor >= 0),
    PRIMARY KEY (merchant_id, holder, currency)
);

-- What somebody refunded by himself on a business day (Asia/Shanghai). The row is what two refunds at once wait for.
CREATE TABLE refund_days (
    merchant_id text   NOT NULL,
    day         date   NOT NULL,
    holder      text   NOT NULL,
    currency    text   NOT NULL,
    used_minor  bigint NOT NULL CHECK (used_minor >= 0),
    PRIMARY KEY (merchant_id, day, holder, currency)
);
