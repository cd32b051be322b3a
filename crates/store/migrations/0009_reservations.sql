-- Whether whoever closed an environment may still change it.
alter table closures add column reserved boolean not null default false;
