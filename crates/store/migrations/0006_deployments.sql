-- What a deployment settled on under its lock, and what it was worth.

-- Units the pipeline file asked for; the request says how many there are.
alter table deployments add column declared bigint;
-- What served when it began, as JSON; null until it has a plan.
alter table deployments add column before text;
alter table deployments add column verdict text not null default 'unknown';
alter table deployments add column caught text;
-- A failure left units of two releases in traffic.
alter table deployments add column mixed boolean not null default false;
alter table deployments add column held_until bigint;
-- Since it was last held.
alter table deployments add column decision text;
alter table deployments add column rolling_back boolean not null default false;
-- When its last event was written.
alter table deployments add column moved_at bigint;
