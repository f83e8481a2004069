-- What the platform's services share: the journal's events, and the audit trail. Times are Unix milliseconds.

-- Every event of the journal once (switch.domain.journal_event.JournalEvent), in the order in which it was found.
-- follow_on_id: nil where the event is of the authorization itself. position: given by the one process that has the
-- feed's lease, in the transaction of the insert, so that whoever has read up to a position has missed none below it.
-- partition key on a distributed PostgreSQL: merchant_id; the feed's order is then that of its own node.
CREATE TABLE journal_events (
    merchant_id      text     NOT NULL,
    authorization_id uuid     NOT NULL,
    kind             smallint NOT NULL,
    follow_on_id     uuid     NOT NULL,
    position         bigint   NOT NULL,
    operation        smallint NOT NULL,
    amount_minor     bigint   NOT NULL,
    currency         text     NOT NULL,
    time_ms          bigint   NOT NULL,
    created_time_ms  bigint   NOT NULL,
    acquirer_id      text     NOT NULL,
    terminal_id      text     NOT NULL,
    channel          text     NOT NULL,
    entry            smallint NOT NULL,
    response_code    text     NOT NULL,
    reference        text     NOT NULL,
    payer_key        bytea    NOT NULL,
    card_prefix      text     NOT NULL,
    PRIMARY KEY (merchant_id, authorization_id, kind, follow_on_id)
);

CREATE UNIQUE INDEX journal_events_position ON journal_events (position);

-- How far each consumer has come; 'feed' is the last position that was given.
CREATE TABLE feed_cursors (
    consumer text   PRIMARY KEY,
    position bigint NOT NULL
);

-- What people and credentials changed (switch.domain.audit.AuditEntry). id begins with the millisecond. before, after:
-- JSON.
CREATE TABLE audit_trail (
    merchant_id text   NOT NULL,
    id          uuid   NOT NULL,
    who         text   NOT NULL,
    act         text   NOT NULL,
    subject     text   NOT NULL,
    before      text   NOT NULL,
    after       text   NOT NULL,
    time_ms     bigint NOT NULL,
    PRIMARY KEY (merchant_id, id)
);
