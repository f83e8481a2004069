-- Orders of a channel (operation 9): the code that the payer's wallet scans is durable with the outcome, so that a
-- repeat is answered with it.
ALTER TABLE authorizations ADD COLUMN order_code text NOT NULL DEFAULT '';

-- In place of authorization_outcome for what the road answers; processes of the version before still send that one, and
-- the resolver, which learns no code, does so too.
CREATE TYPE authorization_answer AS (
    merchant_id         text,
    id                  uuid,
    owner               uuid,
    state               smallint,
    decision            smallint,
    response_code       text,
    reason              text,
    stage               text,
    approval_code       text,
    retrieval_reference text,
    channel_reference   text,
    emv_response        bytea,
    approved_minor      bigint,
    captured_minor      bigint,
    answered_time_ms    bigint,
    follow_up_after_ms  bigint,
    order_code          text
);
