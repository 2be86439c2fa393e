"""The audit: what happened, written down so that a change of it shows.

    observation -> queue -> event (``events.py``, with people under ``pseudonyms.py``)
                -> each sink's own chain (``chain.py``): a file, standard output, PostgreSQL

``writer.py`` is the way of an event, ``verify.py`` finds what was done to it afterwards. docs/audit.md has the fields.
"""

from .configured import AUDIT_SETTINGS, make_audit
from .writer import Audit

__all__ = ["AUDIT_SETTINGS", "Audit", "make_audit"]
