-- The vault (switch.vault): payment tokens, the data keys their PANs are sealed with, and who asked for a PAN.
--
-- The distribution key, requester, leads every key. Times are Unix milliseconds.

-- scheme: switch.domain.payment_token.TokenScheme. A requester keeps it: a token is read by the scheme that made it.
CREATE TABLE token_requesters (
    requester text     PRIMARY KEY,
    scheme    smallint NOT NULL
);

-- One data key per requester and period (30 days since the epoch), wrapped under the HSM's key of that label.
CREATE TABLE token_data_keys (
    requester       text    NOT NULL,
    period          integer NOT NULL,
    wrapping_key    text    NOT NULL,
    wrapped         bytea   NOT NULL,
    created_time_ms bigint  NOT NULL,
    PRIMARY KEY (requester, period)
);

-- state: switch.domain.payment_token.TokenState. pan_hash: keyed, over requester and PAN. sealed_pan: under the data key
-- of that period, bound to requester, token and pan_hash. Of a deleted token (3) last_four, pan_hash and sealed_pan are
-- empty. issued_counter and redeemed_counter: of one-time payments; a payment is redeemed by raising the second.
CREATE TABLE payment_tokens (
    requester        text     NOT NULL,
    token            text     NOT NULL,
    state            smallint NOT NULL,
    last_four        text     NOT NULL,
    pan_hash         bytea    NOT NULL,
    sealed_pan       bytea    NOT NULL,
    period           integer  NOT NULL,
    issued_counter   integer  NOT NULL,
    redeemed_counter integer  NOT NULL,
    created_time_ms  bigint   NOT NULL,
    PRIMARY KEY (requester, token),
    FOREIGN KEY (requester, period) REFERENCES token_data_keys,
    CONSTRAINT counters_in_order CHECK (0 <= redeemed_counter AND redeemed_counter <= issued_counter
                                        AND issued_counter <= 65535),
    CONSTRAINT deleted_is_erased CHECK ((state = 3) = (pan_hash = '')
                                        AND (state <> 3 OR (last_four = '' AND sealed_pan = '')))
) WITH (fillfactor = 85);

-- One live token per requester and PAN: two who make one at once meet here. Not by state: an index that serves every
-- question for a live token would be read for all of a requester's tokens while the planner thinks them few.
CREATE UNIQUE INDEX payment_tokens_live ON payment_tokens (requester, pan_hash) WHERE pan_hash <> '';

-- Every PAN that was given out: rows are only ever added. id begins with the millisecond. role: as the vault names it.
CREATE TABLE token_accesses (
    requester text   NOT NULL,
    id        uuid   NOT NULL,
    who       text   NOT NULL,
    role      text   NOT NULL,
    token     text   NOT NULL,
    reason    text   NOT NULL,
    time_ms   bigint NOT NULL,
    PRIMARY KEY (requester, id)
);
