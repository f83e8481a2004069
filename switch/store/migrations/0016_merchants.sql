-- Merchants (switch.domain.merchant_record, merchant_people, contract_version). Whatever changes a merchant, its people,
-- credentials, stores, terminals or contracts first locks its row here: nothing of that is on the road, and so two who
-- decide at once are decided one after the other.
--
-- The distribution key, merchant_id, leads every key. Times are Unix milliseconds.

-- state, registration_kind: the enums' numbers. applicant, asked_by: Caller.name. asked_state: 0 where no second person
-- is awaited.
CREATE TABLE merchants (
    merchant_id       text     PRIMARY KEY,
    state             smallint NOT NULL,
    legal_name        text     NOT NULL,
    registration_kind smallint NOT NULL,
    registration      text     NOT NULL,
    contact_name      text     NOT NULL,
    contact_phone     text     NOT NULL,
    contact_email     text     NOT NULL,
    display_name      text     NOT NULL,
    city              text     NOT NULL,
    country           text     NOT NULL,
    category_code     text     NOT NULL,
    acquirer_id       text     NOT NULL,
    applicant         text     NOT NULL,
    round             integer  NOT NULL CHECK (round > 0),
    applied_time_ms   bigint   NOT NULL,
    reason            text     NOT NULL,
    asked_state       smallint NOT NULL,
    asked_by          text     NOT NULL,
    asked_reason      text     NOT NULL,
    asked_time_ms     bigint   NOT NULL,
    changed_time_ms   bigint   NOT NULL
) WITH (fillfactor = 85);

CREATE INDEX merchants_applied ON merchants (applied_time_ms, merchant_id);
CREATE INDEX merchants_state ON merchants (state, applied_time_ms, merchant_id);
CREATE INDEX merchants_applicant ON merchants (applicant, applied_time_ms, merchant_id);
-- For the watch, which asks every second what has changed.
CREATE INDEX merchants_changed ON merchants (changed_time_ms);

-- Who applies locks its row: two applications of the same at once are one after the other.
CREATE TABLE merchant_applicants (
    applicant text   PRIMARY KEY,
    time_ms   bigint NOT NULL
);

CREATE TABLE merchant_reviews (
    merchant_id text    NOT NULL REFERENCES merchants,
    round       integer NOT NULL,
    person      text    NOT NULL,
    reviewer    text    NOT NULL,
    approved    boolean NOT NULL,
    reason      text    NOT NULL,
    time_ms     bigint  NOT NULL,
    PRIMARY KEY (merchant_id, round, person)
);

CREATE TABLE merchant_documents (
    merchant_id   text     NOT NULL REFERENCES merchants,
    id            uuid     NOT NULL,
    kind          smallint NOT NULL,
    media_type    text     NOT NULL,
    size_bytes    integer  NOT NULL,
    sha256        text     NOT NULL,
    content       bytea    NOT NULL,
    added_by      text     NOT NULL,
    added_time_ms bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- sealed_number: under the HSM's key, bound to "<merchant_id>/<id>". state: AccountState.
CREATE TABLE merchant_accounts (
    merchant_id      text     NOT NULL REFERENCES merchants,
    id               uuid     NOT NULL,
    state            smallint NOT NULL,
    account_name     text     NOT NULL,
    sealed_number    bytea    NOT NULL,
    masked_number    text     NOT NULL,
    bank_code        text     NOT NULL,
    proposed_by      text     NOT NULL,
    proposed_time_ms bigint   NOT NULL,
    decided_by       text     NOT NULL,
    in_force_time_ms bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- terms are never changed; state is. rates: JSON, a list of Rate.
CREATE TABLE merchant_contracts (
    merchant_id          text     NOT NULL REFERENCES merchants,
    version              integer  NOT NULL CHECK (version > 0),
    state                smallint NOT NULL,
    from_day             date     NOT NULL,
    currency             text     NOT NULL,
    rates                text     NOT NULL,
    reserve_basis_points integer  NOT NULL,
    reserve_days         integer  NOT NULL,
    refunds_return_fee   boolean  NOT NULL,
    proposed_by          text     NOT NULL,
    proposed_time_ms     bigint   NOT NULL,
    decided_by           text     NOT NULL,
    decided_time_ms      bigint   NOT NULL,
    PRIMARY KEY (merchant_id, version)
);

CREATE TABLE merchant_stores (
    merchant_id text    NOT NULL REFERENCES merchants,
    store_id    text    NOT NULL,
    name        text    NOT NULL,
    address     text    NOT NULL,
    active      boolean NOT NULL,
    PRIMARY KEY (merchant_id, store_id)
);

-- Which store a terminal stands in. Those that dial in by themselves are in `terminals` as well, with their keys.
CREATE TABLE merchant_terminals (
    merchant_id     text    NOT NULL,
    terminal_id     text    NOT NULL,
    store_id        text    NOT NULL,
    label           text    NOT NULL,
    active          boolean NOT NULL,
    changed_time_ms bigint  NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id),
    FOREIGN KEY (merchant_id, store_id) REFERENCES merchant_stores
);

CREATE INDEX merchant_terminals_changed ON merchant_terminals (changed_time_ms);

CREATE TABLE merchant_members (
    merchant_id   text     NOT NULL REFERENCES merchants,
    user_id       uuid     NOT NULL,
    role          smallint NOT NULL,
    added_by      text     NOT NULL,
    added_time_ms bigint   NOT NULL,
    PRIMARY KEY (merchant_id, user_id)
);

CREATE INDEX merchant_members_user ON merchant_members (user_id);

-- Open ones only: what was redeemed, revoked or found expired is deleted, and the audit trail tells of it.
CREATE TABLE merchant_invitations (
    merchant_id     text     NOT NULL REFERENCES merchants,
    id              text     NOT NULL,
    role            smallint NOT NULL,
    label           text     NOT NULL,
    code_hash       bytea    NOT NULL,
    invited_by      text     NOT NULL,
    expires_time_ms bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- secret_hash, previous_hash: SHA-256 of 256 random bits. networks: CIDR, by commas.
CREATE TABLE merchant_credentials (
    merchant_id       text     NOT NULL REFERENCES merchants,
    id                text     NOT NULL,
    role              smallint NOT NULL,
    label             text     NOT NULL,
    secret_hash       bytea    NOT NULL,
    previous_hash     bytea    NOT NULL,
    previous_until_ms bigint   NOT NULL,
    networks          text     NOT NULL,
    created_by        text     NOT NULL,
    created_time_ms   bigint   NOT NULL,
    expires_time_ms   bigint   NOT NULL,
    revoked_time_ms   bigint   NOT NULL,
    last_used_time_ms bigint   NOT NULL,
    PRIMARY KEY (merchant_id, id)
) WITH (fillfactor = 85);
