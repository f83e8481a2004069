-- Payments that were entered without a fee, one by one, until they are priced (switch.domain.pricing); ledger_unpriced
-- counts them. posting_id: of the PAYMENT in ledger_entries. day: of the payment, whose contract tells the fee;
-- begun_day: the one on which it was begun, whose contract says whether refunds return fees.
CREATE TABLE ledger_unpriced_payments (
    merchant_id      text   NOT NULL,
    day              date   NOT NULL,
    currency         text   NOT NULL,
    posting_id       uuid   NOT NULL,
    authorization_id uuid   NOT NULL,
    channel          text   NOT NULL,
    card_prefix      text   NOT NULL,
    amount_minor     bigint NOT NULL,
    time_ms          bigint NOT NULL,
    begun_day        date   NOT NULL,
    source           text   NOT NULL,
    PRIMARY KEY (merchant_id, day, currency, posting_id)
);

-- Those that were only counted so far. One whose fee was told and was nothing cannot be told apart here: it is priced
-- anew, by the same contract, to nothing.
INSERT INTO ledger_unpriced_payments
SELECT e.merchant_id, u.day, e.currency, e.transaction_id, e.authorization_id, j.channel, j.card_prefix, j.amount_minor,
       j.time_ms, (to_timestamp(j.created_time_ms / 1000.0) AT TIME ZONE 'Asia/Shanghai')::date, e.source
FROM ledger_unpriced AS u
JOIN ledger_entries AS e
    ON e.merchant_id = u.merchant_id AND e.currency = u.currency AND e.day >= u.day AND e.kind = 1
       AND e.account = 'merchant' AND (to_timestamp(e.time_ms / 1000.0) AT TIME ZONE 'Asia/Shanghai')::date = u.day
JOIN journal_events AS j
    ON j.merchant_id = e.merchant_id AND j.authorization_id = e.authorization_id AND j.kind IN (1, 4)
       AND e.source = CASE j.kind WHEN 1 THEN 'approved/' || j.authorization_id ELSE 'captured/' || j.follow_on_id END
WHERE NOT EXISTS (
    SELECT FROM ledger_entries AS f
    WHERE f.merchant_id = e.merchant_id AND f.transaction_id = e.transaction_id AND f.account = 'fees');

UPDATE ledger_unpriced AS u SET payments = p.payments, amount_minor = p.amount_minor
FROM (
    SELECT merchant_id, day, currency, count(*) AS payments, sum(amount_minor)::bigint AS amount_minor
    FROM ledger_unpriced_payments GROUP BY merchant_id, day, currency
) AS p
WHERE p.merchant_id = u.merchant_id AND p.day = u.day AND p.currency = u.currency;
