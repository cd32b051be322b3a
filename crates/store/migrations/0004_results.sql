-- Passes of stages with `inputs`, by the digest over what they depend on; the pass itself
-- stands in the events of its run, and its files are the layer that run, index and attempt
-- name.
create table results (
    project text not null,
    trusted boolean not null,
    stage text not null,
    digest text not null,
    run text not null,
    stage_index bigint not null,
    attempt bigint not null,
    used_at bigint not null,
    primary key (project, trusted, stage, digest)
) without rowid;
create index results_oldest on results (used_at);
create index results_run on results (run);
