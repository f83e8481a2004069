-- Payment terminals that connect to the switch (switch.domain.terminal.Terminal). key: HSM label of the terminal's
-- master key. batch: the one that is open. signed_on: whether it may send payments. The working keys of its last two
-- sign-ons are sealed by the HSM; empty: there are none.
CREATE TABLE terminals (
    merchant_id            text    NOT NULL,
    terminal_id            text    NOT NULL,
    acquirer_id            text    NOT NULL,
    merchant_name          text    NOT NULL,
    merchant_city          text    NOT NULL,
    merchant_category_code text    NOT NULL,
    key                    text    NOT NULL,
    batch                  integer NOT NULL CHECK (batch BETWEEN 1 AND 999999),
    signed_on              boolean NOT NULL,
    pin_key                bytea   NOT NULL,
    mac_key                bytea   NOT NULL,
    previous_pin_key       bytea   NOT NULL,
    previous_mac_key       bytea   NOT NULL,
    created_time_ms        bigint  NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id)
) WITH (fillfactor = 70);

-- What a terminal sent, by the name that it goes by there: batch and STAN. The first arrival of a message writes the
-- row, its repeats find it, and what refers to it later (a void, a completion, a reversal) finds it by the same name.
-- authorization_id: what it is about; id: the authorization or follow-on that it asks for.
CREATE TABLE terminal_entries (
    merchant_id          text     NOT NULL,
    terminal_id          text     NOT NULL,
    batch                integer  NOT NULL,
    stan                 integer  NOT NULL,
    operation            smallint NOT NULL,
    transmission_time_ms bigint   NOT NULL,
    id                   uuid     NOT NULL,
    authorization_id     uuid     NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id, batch, stan)
);
