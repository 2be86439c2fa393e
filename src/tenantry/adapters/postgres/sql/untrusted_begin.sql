-- Enter. Session settings first: behind a pooler, an earlier block of the same tenant may have left some. They are
-- limits for the statements that keep to them; what must hold is kept outside (untrusted.py).
RESET ALL;
BEGIN {mode};
SET LOCAL search_path = {schema}, pg_temp;
SET LOCAL statement_timeout = {milliseconds};
SET LOCAL idle_in_transaction_session_timeout = {milliseconds};
SET LOCAL work_mem = {kilobytes};
SET LOCAL hash_mem_multiplier = 1;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL tenantry.user_id = {user};
SET LOCAL tenantry.permissions = {permissions}
