-- The rows of a statement. Only what may stand in WITH can be there, so no command (SET, DO, COMMIT ...). What is
-- measured is what is sent, also where a column of the statement has one of the names below. A cast fails, and says
-- why, at the first row that is too long, before anything is made of it, and at the first with which the text of all
-- rows so far is.
WITH statement AS (
{statement}
)
SELECT (measured.whole_row).*
FROM (
    SELECT limited_rows AS whole_row,
           pg_catalog.sum(pg_catalog.octet_length(limited_rows::pg_catalog.text)) OVER (ROWS UNBOUNDED PRECEDING) AS total
    FROM (SELECT * FROM statement LIMIT {rows}) AS limited_rows
    WHERE CASE WHEN pg_catalog.pg_column_size(limited_rows) OPERATOR(pg_catalog.<=) {bytes} THEN true
               ELSE pg_catalog.concat({mark}, pg_catalog.pg_column_size(limited_rows))::pg_catalog.bool END
) AS measured
WHERE CASE WHEN measured.total OPERATOR(pg_catalog.<=) {bytes} THEN true
           ELSE pg_catalog.concat({mark}, measured.total)::pg_catalog.bool END
