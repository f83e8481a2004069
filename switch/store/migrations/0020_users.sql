-- People (docs/users.md). Times are Unix milliseconds. What names a person is sealed by the HSM, what is looked up is a
-- keyed hash. Distribution key: user_id, or the one column that a table is looked up by before the user is known.

-- state: 1 open, 2 closed: everything personal is empty then. totp_last_step: no code of it or before is accepted.
-- password_version: grows with every change, so that no log-in that began before it ends after it.
CREATE TABLE users (
    user_id              uuid     PRIMARY KEY,
    state                smallint NOT NULL,
    login_hash           bytea    NOT NULL,
    login_kind           smallint NOT NULL,
    login_sealed         bytea    NOT NULL,
    password_hash        text     NOT NULL,
    password_version     integer  NOT NULL DEFAULT 1,
    totp_sealed          bytea    NOT NULL DEFAULT '',
    totp_pending         bytea    NOT NULL DEFAULT '',
    totp_pending_time_ms bigint   NOT NULL DEFAULT 0,
    totp_last_step       bigint   NOT NULL DEFAULT 0,
    created_time_ms      bigint   NOT NULL,
    closed_time_ms       bigint   NOT NULL DEFAULT 0
);

CREATE TABLE user_logins (
    login_hash bytea PRIMARY KEY,
    user_id    uuid  NOT NULL
);

-- Tries to prove something (kind 1) and codes sent (in an hour: 2, in a day: 3), by login hash: also of logins that do
-- not exist, so that they answer alike.
CREATE TABLE user_attempts (
    subject       bytea    NOT NULL,
    kind          smallint NOT NULL,
    count         integer  NOT NULL,
    since_time_ms bigint   NOT NULL,
    last_time_ms  bigint   NOT NULL,
    PRIMARY KEY (subject, kind)
);
CREATE INDEX user_attempts_old ON user_attempts (last_time_ms);

-- Codes that were sent. user_id: nil where there is no account to it.
CREATE TABLE user_codes (
    id              uuid     PRIMARY KEY,
    purpose         smallint NOT NULL,
    login_hash      bytea    NOT NULL,
    login_kind      smallint NOT NULL,
    code_hash       bytea    NOT NULL,
    expires_time_ms bigint   NOT NULL,
    user_id         uuid,
    login_sealed    bytea    NOT NULL,
    password_hash   text     NOT NULL,
    tries           smallint NOT NULL
);
CREATE INDEX user_codes_old ON user_codes (expires_time_ms);

-- Challenges that are out, and log-ins that wait for their second factor.
CREATE TABLE user_ceremonies (
    id              uuid     PRIMARY KEY,
    purpose         smallint NOT NULL,
    user_id         uuid,
    session_id      uuid,
    challenge       bytea    NOT NULL,
    secret_hash     bytea    NOT NULL,
    expires_time_ms bigint   NOT NULL,
    client_name     text     NOT NULL,
    device_id       uuid,
    password_version integer NOT NULL,
    tries           smallint NOT NULL DEFAULT 0
);
CREATE INDEX user_ceremonies_old ON user_ceremonies (expires_time_ms);
CREATE INDEX user_ceremonies_session ON user_ceremonies (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE user_passkeys (
    user_id         uuid   NOT NULL,
    passkey_id      uuid   NOT NULL,
    credential_id   bytea  NOT NULL,
    public_key      bytea  NOT NULL,
    sign_count      bigint NOT NULL,
    name            text   NOT NULL,
    created_time_ms bigint NOT NULL,
    used_time_ms    bigint NOT NULL,
    PRIMARY KEY (user_id, passkey_id)
);
CREATE UNIQUE INDEX user_passkeys_credential ON user_passkeys (user_id, credential_id);

-- Each works once: used is deleted.
CREATE TABLE user_recovery_codes (
    user_id   uuid  NOT NULL,
    code_hash bytea NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE user_sessions (
    user_id                         uuid    NOT NULL,
    session_id                      uuid    NOT NULL,
    salt                            bytea   NOT NULL,
    generation                      integer NOT NULL,
    access_hash                     bytea   NOT NULL,
    access_expires_time_ms          bigint  NOT NULL,
    previous_access_hash            bytea   NOT NULL,
    previous_access_expires_time_ms bigint  NOT NULL,
    refresh_expires_time_ms         bigint  NOT NULL,
    ends_time_ms                    bigint  NOT NULL,
    created_time_ms                 bigint  NOT NULL,
    refreshed_time_ms               bigint  NOT NULL,
    stepped_up_time_ms              bigint  NOT NULL,
    confirmed_time_ms               bigint  NOT NULL,
    address                         text    NOT NULL,
    client_name                     text    NOT NULL,
    device_id                       uuid,
    revoked_time_ms                 bigint  NOT NULL,
    PRIMARY KEY (user_id, session_id)
);
CREATE INDEX user_sessions_old ON user_sessions (refresh_expires_time_ms);

CREATE TABLE user_devices (
    user_id         uuid   NOT NULL,
    device_id       uuid   NOT NULL,
    name            text   NOT NULL,
    public_key      bytea  NOT NULL,
    attestation     bytea  NOT NULL,
    created_time_ms bigint NOT NULL,
    revoked_time_ms bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Networks an account was used from: a keyed hash of the address's network.
CREATE TABLE user_networks (
    user_id      uuid   NOT NULL,
    network_hash bytea  NOT NULL,
    last_time_ms bigint NOT NULL,
    PRIMARY KEY (user_id, network_hash)
);
CREATE INDEX user_networks_old ON user_networks (last_time_ms);

CREATE TABLE user_alerts (
    user_id  uuid     NOT NULL,
    alert_id uuid     NOT NULL,
    kind     smallint NOT NULL,
    address  text     NOT NULL,
    time_ms  bigint   NOT NULL,
    PRIMARY KEY (user_id, alert_id)
);
CREATE INDEX user_alerts_old ON user_alerts (time_ms);

-- What is to be delivered by e-mail or short message; delivered is deleted.
CREATE TABLE user_messages (
    id              uuid   PRIMARY KEY,
    sealed          bytea  NOT NULL,
    created_time_ms bigint NOT NULL,
    expires_time_ms bigint NOT NULL,
    leased_time_ms  bigint NOT NULL
);
CREATE INDEX user_messages_due ON user_messages (leased_time_ms);
CREATE INDEX user_messages_old ON user_messages (expires_time_ms);
