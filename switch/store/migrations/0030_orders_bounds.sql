-- Whether the payer had shown a second factor of late. What he paid without one counts towards the day's limit of its
-- currency, which the payments before this migration do, too.
ALTER TABLE order_payments ADD COLUMN stepped_up boolean NOT NULL DEFAULT false;

-- What a payer paid of late, whoever was paid.
CREATE INDEX order_payments_payer ON order_payments (payer, transmission_time_ms) WHERE payer <> '';

-- A row is locked while its payer begins a payment without a second factor: two at once see each other.
CREATE TABLE order_payers (
    payer text PRIMARY KEY
);

-- What is open of a printed code, which is bounded.
CREATE INDEX orders_shop_code ON orders (merchant_id, shop_code) WHERE shop_code IS NOT NULL AND state IN (1, 2);

-- What has ended, oldest first: dropped after its time, what was never paid long before what was.
CREATE INDEX orders_ended_unpaid ON orders (changed_time_ms) WHERE state IN (4, 5);
CREATE INDEX orders_ended_paid ON orders (changed_time_ms) WHERE state IN (3, 6, 7);
