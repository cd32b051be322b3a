-- Environments that somebody keeps others from changing, by hand.
create table closures (
    project text not null,
    environment text not null,
    owner text not null,
    reason text not null,
    closed_at bigint not null,
    expires_at bigint not null,
    primary key (project, environment)
) without rowid;
