-- Routing plans (switch.routing): documents that are loaded, checked and put in force while the switch runs.
--
-- They belong to no merchant: on a distributed PostgreSQL these four are reference tables, a few rows on every node.
-- Nothing here is on the road; each process asks about once a second which version is live. Times are Unix milliseconds.

-- state: switch.domain.routing_plan.PlanState. content is never changed; version 0 is the settings' and has no row.
CREATE TABLE routing_plans (
    version         integer  PRIMARY KEY,
    name            text     NOT NULL,
    content         text     NOT NULL,
    state           smallint NOT NULL,
    created_by      text     NOT NULL,
    created_time_ms bigint   NOT NULL,
    changed_by      text     NOT NULL,
    changed_time_ms bigint   NOT NULL,
    CONSTRAINT version_is_positive CHECK (version > 0)
);

-- Two who put plans in force at once meet here.
CREATE UNIQUE INDEX routing_plans_live ON routing_plans (state) WHERE state = 2;

-- What was in force and when: rows are only ever added. version, previous: 0 for the settings' routes.
CREATE TABLE routing_changes (
    number   integer PRIMARY KEY,
    version  integer NOT NULL,
    previous integer NOT NULL,
    who      text    NOT NULL,
    time_ms  bigint  NOT NULL
);

-- A BIN table is named by the SHA-256 of its file; plans that name the same one share it.
CREATE TABLE bin_tables (
    sha256          bytea    PRIMARY KEY,
    size_bytes      bigint   NOT NULL,
    chunks          integer  NOT NULL,
    created_by      text     NOT NULL,
    created_time_ms bigint   NOT NULL
);

CREATE TABLE bin_table_chunks (
    sha256  bytea   NOT NULL REFERENCES bin_tables,
    number  integer NOT NULL,
    content bytea   NOT NULL,
    PRIMARY KEY (sha256, number)
);
