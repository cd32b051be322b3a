-- Who is in a concurrency group: whole runs (stage is empty) and stages.
create table groups (
    project text not null,
    name text not null,
    run text not null references runs (id),
    stage text not null,
    -- Of the stage in its plan.
    position bigint not null,
    -- How many may hold the group, as this member says.
    places bigint not null,
    -- Since when it holds the group; null: it waits.
    held_at bigint,
    -- The run that came with `on-new: cancel-running` while this one held it.
    superseded_by text,
    primary key (project, name, run, stage)
) without rowid;
create index groups_by_run on groups (run);
