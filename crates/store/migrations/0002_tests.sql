-- Tests of the reports of attempts, in the order they were read.
create table tests (
    run text not null references runs (id),
    stage text not null,
    attempt bigint not null,
    position bigint not null,
    class text not null,
    name text not null,
    result text not null check (result in ('passed', 'failed', 'error', 'skipped')),
    duration_ms bigint not null,
    message text,
    primary key (run, stage, attempt, position)
) without rowid;
create index tests_by_name on tests (name, class, run);
