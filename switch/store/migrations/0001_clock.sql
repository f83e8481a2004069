-- The database's clock is the one reference for leases and due times: switch processes may disagree about the time.
-- Unix milliseconds at the start of the statement.
CREATE FUNCTION now_ms() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (extract(epoch FROM statement_timestamp()) * 1000)::bigint;
