-- Artifacts of runs; their archives are files, named by their hash.
create table artifacts (
    run text not null references runs (id),
    seq bigint not null,
    stage text not null,
    attempt bigint not null,
    name text not null,
    size bigint not null,
    sha256 text not null,
    files bigint not null,
    stored_at bigint not null,
    expires_at bigint not null,
    -- The archive is gone.
    removed_at bigint,
    primary key (run, seq)
) without rowid;
create index artifacts_due on artifacts (expires_at) where removed_at is null;
