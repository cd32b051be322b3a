-- Times are microseconds since 1970-01-01 UTC; ids are UUIDs as text; words are
-- those of events and API. `events` is the truth, and the columns that say how
-- something goes are projections of it, written in the transaction of the event.

create table meta (
    key text primary key not null,
    value text not null
) without rowid;

-- A stream is a run or a deployment; `payload` is the whole event.
create table events (
    stream text not null,
    seq bigint not null check (seq >= 1),
    kind text not null,
    at bigint not null,
    actor text,
    payload text not null,
    primary key (stream, seq)
) without rowid;
create unique index events_end on events (stream)
    where kind in ('run.finished', 'deployment.finished');

create table projects (
    name text primary key not null,
    git_url text not null,
    default_branch text not null,
    poll_ms bigint,
    hook_secret text,
    git_key text,
    created_at bigint not null,
    -- Empty until the first poll has recorded the heads.
    polled_at bigint
);

create table heads (
    project text not null references projects (name),
    reference text not null,
    sha text not null,
    seen_at bigint not null,
    primary key (project, reference)
) without rowid;

create table triggers (
    id text primary key not null,
    project text not null references projects (name),
    source text not null,
    -- The sender's id of the delivery; one delivery is recorded once.
    delivery text,
    received_at bigint not null,
    reference text,
    sha text,
    actor text,
    verdict text not null check (verdict in ('pending', 'started', 'ignored', 'failed')),
    reason text,
    decided_at bigint,
    body blob not null,
    -- Of the body as it came; `body` may be its beginning only.
    body_size bigint not null,
    unique (project, delivery)
);
create index triggers_newest on triggers (project, id);
create index triggers_commit on triggers (project, sha);
create index triggers_pending on triggers (id) where verdict = 'pending';

create table runs (
    id text primary key not null,
    short text not null,
    -- Without a reference: a local run has no row in `projects`.
    project text not null,
    pipeline text not null,
    number bigint not null,
    event text not null,
    branch text,
    tag text,
    sha text not null,
    actor text not null,
    trigger_id text references triggers (id),
    status text not null check (status in ('queued', 'leased', 'running', 'finished')),
    holder text,
    result text,
    queued_at bigint not null,
    started_at bigint,
    finished_at bigint,
    -- Of the last event.
    seq bigint not null,
    unique (project, pipeline, number),
    check ((status = 'finished') = (result is not null))
);
create unique index runs_trigger on runs (trigger_id);
create index runs_short on runs (short);
create index runs_newest on runs (project, id);
create index runs_branch on runs (project, pipeline, branch, number);
create index runs_open on runs (id) where status <> 'finished';

create table releases (
    id text primary key not null,
    project text not null,
    version text not null,
    branch text,
    sha text not null,
    committer text not null,
    artifact text not null,
    built_at bigint not null,
    unique (project, artifact)
);
create index releases_newest on releases (project, built_at, id);

create table deployments (
    id text primary key not null,
    project text not null,
    environment text not null,
    kind text not null,
    release_id text not null references releases (id),
    run text,
    -- The whole request, with the specification.
    request text not null,
    requested_at bigint not null,
    finished_at bigint,
    state text,
    outcome text,
    fence bigint not null default 0,
    check ((state is null) = (finished_at is null))
);
create index deployments_newest on deployments (project, environment, requested_at, id);
create index deployments_run on deployments (run);
create index deployments_open on deployments (requested_at, id) where state is null;

-- Keyed by the event of the intent: an engine that resumes may count its ops anew.
create table ops (
    deployment text not null references deployments (id),
    seq bigint not null,
    op bigint not null,
    action text not null,
    unit text not null,
    batch bigint,
    undo boolean not null,
    state text not null,
    detail text,
    intended_at bigint not null,
    finished_at bigint,
    duration_ms bigint,
    primary key (deployment, seq)
) without rowid;

-- The row stays when the lock is given back: the fence only grows.
create table locks (
    project text not null,
    environment text not null,
    fence bigint not null,
    holder text,
    deployment text,
    expires_at bigint,
    primary key (project, environment)
) without rowid;

create table outbox (
    id text primary key not null,
    kind text not null,
    dedupe_key text not null unique,
    payload text not null,
    attempts bigint not null default 0,
    next_at bigint not null,
    state text not null check (state in ('pending', 'sent', 'dead')),
    last_error text,
    created_at bigint not null,
    sent_at bigint
);
create index outbox_due on outbox (next_at) where state = 'pending';
