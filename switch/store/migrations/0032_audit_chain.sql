-- The audit trail's chain (switch.domain.audit_chain). A row is added without a place in it, in the transaction of the
-- change it tells of; the one follower that locks audit_chain gives it its place, once, a moment later. Nobody else
-- updates a row of audit_trail, and nobody deletes one.
--
-- hash: over the row before's hash, sequence and content.
ALTER TABLE audit_trail
    ADD COLUMN sequence bigint,
    ADD COLUMN hash     bytea;

CREATE UNIQUE INDEX audit_trail_sequence ON audit_trail (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_trail_unchained ON audit_trail (id) WHERE sequence IS NULL;

-- One row: the chain's last entry. hash: 32 zero bytes before the first.
CREATE TABLE audit_chain (
    one      boolean PRIMARY KEY CHECK (one),
    sequence bigint  NOT NULL,
    hash     bytea   NOT NULL
);

INSERT INTO audit_chain (one, sequence, hash) VALUES (true, 0, decode(repeat('00', 32), 'hex'));

-- How long the chain was, and its last hash then; signature: by the HSM's key of that label, over
-- switch.domain.audit_chain.Checkpoint.statement.
CREATE TABLE audit_checkpoints (
    sequence  bigint PRIMARY KEY,
    hash      bytea  NOT NULL,
    time_ms   bigint NOT NULL,
    key_label text   NOT NULL,
    signature bytea  NOT NULL
);

-- Finding what a person or a credential did, or what was done to a thing.
CREATE INDEX audit_trail_who ON audit_trail (who, id);
CREATE INDEX audit_trail_subject ON audit_trail (subject, id);
CREATE INDEX audit_trail_id ON audit_trail (id);
