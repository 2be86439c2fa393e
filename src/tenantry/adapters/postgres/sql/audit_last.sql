-- The last row of each writer in a table of the audit.
SELECT DISTINCT ON (writer) writer, seq, line
FROM {table}
ORDER BY writer, seq DESC
