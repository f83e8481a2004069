-- Liveness of switch processes. A process lives while lease_until_ms is ahead of now_ms(); a lease that ran out never
-- comes back. slot is empty once the lease ran out and somebody else may have it.
-- oldest_open_time_ms: nothing the process drives was created before. swept_time_ms: nothing it left SENT was created
-- before; the search for such rows starts here and so stays short.
CREATE TABLE processes (
    owner               uuid     PRIMARY KEY,
    name                text     NOT NULL,
    slot                smallint UNIQUE CHECK (slot BETWEEN 0 AND 63),
    lease_until_ms      bigint   NOT NULL,
    oldest_open_time_ms bigint   NOT NULL,
    swept_time_ms       bigint   NOT NULL
) WITH (fillfactor = 50);
