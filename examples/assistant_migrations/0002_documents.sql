create table documents (
    id bigint generated always as identity primary key,
    title text not null check (length(title) between 1 and 200),
    body text not null check (length(body) <= 200000),
    author text not null default current_setting('tenantry.user_id'),
    words tsvector generated always as (to_tsvector('simple', title || ' ' || body)) stored
);
create index on documents using gin (words);
