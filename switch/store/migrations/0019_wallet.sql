-- The wallet (switch.users): a user's cards, the devices that make payment codes, and the codes that were used. Times
-- are Unix milliseconds.

-- state: switch.domain.card.CardState. token: the vault's, of the requester "wallet"; empty once it was erased there.
-- verification_*: the authorization that proves the ownership; its amount, until it is proved, and the tries to name it.
-- verification_voided: the amount was given back. changed_time_ms: of the last change of state.
CREATE TABLE cards (
    user_id                  uuid     NOT NULL,
    card_id                  uuid     NOT NULL,
    state                    smallint NOT NULL,
    is_default               boolean  NOT NULL,
    token                    text     NOT NULL,
    brand                    text     NOT NULL,
    channel                  text     NOT NULL,
    prefix                   text     NOT NULL,
    last_four                text     NOT NULL,
    expiry_yymm              text     NOT NULL,
    verification_id          uuid     NOT NULL,
    verification_time_ms     bigint   NOT NULL,
    verification_minor       integer  NOT NULL,
    verification_tries       smallint NOT NULL,
    verification_voided      boolean  NOT NULL,
    created_time_ms          bigint   NOT NULL,
    changed_time_ms          bigint   NOT NULL,
    PRIMARY KEY (user_id, card_id),
    CONSTRAINT only_active_is_default CHECK (NOT is_default OR state = 2)
);

-- One live card of a number with each user, one default card of each user.
CREATE UNIQUE INDEX cards_live ON cards (user_id, token) WHERE state IN (1, 2);
CREATE UNIQUE INDEX cards_default ON cards (user_id) WHERE is_default;
-- Whether anybody still has the number, and how often its ownership was to be proved of late.
CREATE INDEX cards_token ON cards (token) WHERE token <> '';
-- What is to be ended: an amount that was not given back yet, a proof that was never given, a token to be erased.
CREATE INDEX cards_open ON cards (changed_time_ms)
    WHERE state = 1 OR NOT verification_voided OR (state IN (3, 4) AND token <> '');

-- One row per device that makes codes (switch.domain.code_device.CodeDevice). On a distributed PostgreSQL the key is the
-- number, by which the road asks; the unique index is then a table of its own by user.
CREATE TABLE code_devices (
    number          bigint  PRIMARY KEY,
    user_id         uuid    NOT NULL,
    device_id       uuid    NOT NULL,
    sealed_secret   bytea   NOT NULL,
    wrong           integer NOT NULL,
    wrong_since_ms  bigint  NOT NULL,
    created_time_ms bigint  NOT NULL,
    CONSTRAINT eleven_digits CHECK (number BETWEEN 0 AND 99999999999)
);

CREATE UNIQUE INDEX code_devices_of_user ON code_devices (user_id, device_id);

-- Every code that was used, and by which authorization: whoever inserts the row has the code. A partition is a day of
-- steps (of ten seconds); see switch.store.code_days.
CREATE TABLE payment_code_claims (
    number           bigint   NOT NULL,
    step             bigint   NOT NULL,
    sequence         smallint NOT NULL,
    authorization_id uuid     NOT NULL,
    PRIMARY KEY (number, step, sequence)
) PARTITION BY RANGE (step);

CREATE TABLE payment_code_claims_rest PARTITION OF payment_code_claims DEFAULT;

-- Every sealed handover that was opened, and by which authorization, in the same way. nonce: the terminal's. time_ms: the
-- phone's, covered by the envelope. A partition is a day.
CREATE TABLE handover_claims (
    merchant_id      text   NOT NULL,
    terminal_id      text   NOT NULL,
    nonce            bytea  NOT NULL,
    time_ms          bigint NOT NULL,
    authorization_id uuid   NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id, nonce, time_ms)
) PARTITION BY RANGE (time_ms);

CREATE TABLE handover_claims_rest PARTITION OF handover_claims DEFAULT;
