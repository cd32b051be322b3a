-- What somebody who watches found wrong with an environment, under the deployment that
-- stood then. At a place there is one at a time.
create table incidents (
    deployment text not null references deployments (id),
    seq bigint not null,
    place text not null,
    -- The incident as JSON, as it was last.
    incident text not null,
    since bigint not null,
    resolved_at bigint,
    because text,
    given_up_at bigint,
    primary key (deployment, seq)
) without rowid;
create unique index open_incidents on incidents (deployment, place) where resolved_at is null;
