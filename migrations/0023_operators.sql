-- API keys, the audit of what belongs to no sale, and the idempotency keys of operators.
--
-- A key's secret is derived from the configured secret, the key's id and its salt, and is not stored. `hash` is a MAC of
-- the secret with the configured secret: who reads this table can neither use a key nor try out guesses.
--
-- `operator_audit` stands beside `sale_audit`, because the previous release takes every row of that one for a change of a
-- sale. Both count with one sequence, so that an entry's number is its own.
--
-- The idempotency key of an operator's request is written in the transaction of its first change: there is no change
-- without it, and a request that is repeated changes nothing. The answer follows in a transaction of its own.

CREATE TABLE api_keys (
    id           text        COLLATE "C" NOT NULL,
    name         text        NOT NULL,
    scopes       text[]      NOT NULL,
    salt         bytea       NOT NULL,
    hash         bytea       NOT NULL,
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- Within a minute or so.
    last_used_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_id_length CHECK (octet_length(id) BETWEEN 1 AND 64),
    CONSTRAINT api_keys_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_keys_scopes_known
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'sell', 'operate']),
    CONSTRAINT api_keys_salt_length CHECK (octet_length(salt) = 16),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(hash) = 32),
    CONSTRAINT api_keys_created_by_length CHECK (char_length(created_by) BETWEEN 1 AND 200)
);

-- The list of all keys, newest first, and the keys that instances read twice a second.
CREATE INDEX api_keys_created_at ON api_keys (created_at, id);
CREATE INDEX api_keys_not_revoked ON api_keys (id) WHERE revoked_at IS NULL;

CREATE TABLE operator_audit (
    id      bigint      NOT NULL DEFAULT nextval('sale_audit_id_seq'),
    action  text        NOT NULL,
    actor   text        NOT NULL,
    subject text        NOT NULL,
    before  jsonb,
    after   jsonb,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT operator_audit_pkey PRIMARY KEY (id),
    CONSTRAINT operator_audit_action_form CHECK (action ~ '^[a-z_]{1,64}$'),
    CONSTRAINT operator_audit_actor_length CHECK (char_length(actor) BETWEEN 1 AND 200),
    CONSTRAINT operator_audit_subject_length CHECK (char_length(subject) BETWEEN 1 AND 500)
);

CREATE INDEX operator_audit_at ON operator_audit (at, id);

CREATE TABLE operator_requests (
    -- The API key that sent it.
    owner      text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    -- SHA-256 of what was asked for.
    content    bytea       NOT NULL,
    -- The execution that wrote it: one request may commit several changes.
    execution  uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Null until the answer is known.
    status     smallint,
    answer     text,
    CONSTRAINT operator_requests_pkey PRIMARY KEY (owner, key),
    CONSTRAINT operator_requests_owner_length CHECK (octet_length(owner) BETWEEN 1 AND 64),
    CONSTRAINT operator_requests_key_length CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT operator_requests_content_length CHECK (octet_length(content) = 32),
    CONSTRAINT operator_requests_status_range CHECK (status BETWEEN 200 AND 299),
    CONSTRAINT operator_requests_answer_whole CHECK ((status IS NULL) = (answer IS NULL))
);

CREATE INDEX operator_requests_created_at ON operator_requests (created_at);
