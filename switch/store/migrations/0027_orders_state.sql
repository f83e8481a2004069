-- Orders of a merchant in some states, newest first: without it the few that are asked for are looked for among all.
CREATE INDEX orders_state ON orders (merchant_id, state, id);
