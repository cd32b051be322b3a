-- What the end of a deployment says beside its state.

-- It failed since the target or the registry did, and nothing was switched.
alter table deployments add column infrastructure boolean not null default false;
-- Requests that did not end within `drain`.
alter table deployments add column cut bigint not null default 0;
