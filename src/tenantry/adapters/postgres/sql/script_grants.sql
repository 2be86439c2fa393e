-- The GRANTs that grants.sql finds, where nobody is there to send them one by one.
DO $tenantry$
DECLARE
    granting text;
BEGIN
    FOR granting IN
{query}
    LOOP
        EXECUTE granting;
    END LOOP;
END
$tenantry$
