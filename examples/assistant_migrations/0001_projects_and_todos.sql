-- Runs once in each tenant's own schema, which is first in the search path. Every scope says who is asking.
create table projects (
    id bigint generated always as identity primary key,
    name text not null unique check (length(name) between 1 and 200),
    author text not null default current_setting('tenantry.user_id')
);

create table todos (
    id bigint generated always as identity primary key,
    project bigint not null references projects (id) on delete cascade,
    title text not null check (length(title) between 1 and 500),
    done boolean not null default false,
    author text not null default current_setting('tenantry.user_id')
);
create index on todos (project);
