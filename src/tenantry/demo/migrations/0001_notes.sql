-- Runs once in each tenant's own schema, which is first in the search path.
create table notes (
    id bigint generated always as identity primary key,
    author text not null,
    text text not null check (length(text) between 1 and 2000),
    written_at timestamptz not null default now()
);
