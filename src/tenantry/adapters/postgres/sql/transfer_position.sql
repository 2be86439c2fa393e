-- Where sequence $2 of schema $1 goes on.
SELECT pg_catalog.setval(pg_catalog.format('%I.%I', $1::text, $2::text)::regclass, $3::bigint, $4::boolean)
