"""GitHub Actions: the tokens of jobs, as an Enterprise Server issues them below its own path.

Faithful where real bugs hide: whoever runs a job anywhere gets a token for any audience; the subject has an old form
and one with ids in it; ``pull_request_target`` runs with the default branch as ``ref``; every id is a text.
"""

from __future__ import annotations

from typing import Any, Final

from ..people import Person
from .base import Issuer, guid

OWNER_ID: Final = "1234"
REPOSITORY_ID: Final = "987654321"
FORK_ID: Final = "987650000"
_WORKFLOW: Final = ".github/workflows/notes.yml"


class GitHubActions(Issuer):
    name = "github-actions"
    place = "/_services/token"
    keys_place = "/_services/token/.well-known/jwks"
    kinds = ("id_token", "old_id_token", "pull_request_token", "pull_request_target_token", "stranger_token")

    def id_token(
        self,
        person: Person | str,
        *,
        of: str = "acme/app",
        repository_id: Any = REPOSITORY_ID,
        owner_id: Any = OWNER_ID,
        ref: Any = "refs/heads/main",
        event_name: Any = "push",
        **claims: Any,
    ) -> str:
        """Of a job that ``person`` started in the repository ``of``; ``environment`` only where it names one."""
        found = self.person(person)
        owner, _, name = of.partition("/")
        job = f"environment:{claims['environment']}" if "environment" in claims else f"ref:{ref}"
        base = {
            "aud": self.audience,
            "sub": f"repo:{owner}@{owner_id}/{name}@{repository_id}:{job}",
            "nbf": self.now(),
            "jti": guid(self.name, "jti", found.key),
            "repository": of,
            "repository_id": repository_id,
            "repository_owner": owner,
            "repository_owner_id": owner_id,
            "repository_visibility": "private",
            "actor": found.key,
            "actor_id": "583231",
            "ref": ref,
            "ref_type": "branch",
            "ref_protected": "true",
            "event_name": event_name,
            "workflow_ref": f"{of}/{_WORKFLOW}@{ref}",
            "job_workflow_ref": f"{of}/{_WORKFLOW}@{ref}",
            "runner_environment": "github-hosted",
            "run_id": "1",
            "sha": "0" * 40,
        }
        return self.signed(base, claims, expires_in=300)

    def old_id_token(self, person: Person | str, **claims: Any) -> str:
        """The subject of repositories made before 15 July 2026: names alone."""
        return self.id_token(person, **{"sub": "repo:acme/app:ref:refs/heads/main", **claims})

    def pull_request_token(self, person: Person | str, **claims: Any) -> str:
        """Of a pull request from a fork, where the repository gives such jobs tokens at all."""
        base = {"event_name": "pull_request", "ref": "refs/pull/7/merge", "ref_protected": "false"}
        names = {"sub": "repo:acme/app:pull_request", "head_ref": "patch-1", "base_ref": "main"}
        return self.id_token(person, **{**base, **names, **claims})

    def pull_request_target_token(self, person: Person | str, **claims: Any) -> str:
        """Caused by anybody's pull request, in the repository's own name and on its own branch."""
        return self.id_token(person, **{"event_name": "pull_request_target", "head_ref": "patch-1", **claims})

    def stranger_token(self, person: Person | str, **claims: Any) -> str:
        """Of somebody else's repository, for our audience, on a branch and in an environment of the same names."""
        names = {"of": "mallory/app", "repository_id": "666", "owner_id": "66", "environment": "prod"}
        return self.id_token(person, **{**names, **claims})

    def entry(self) -> dict[str, Any]:
        main = {"repository_id": REPOSITORY_ID, "ref": "refs/heads/main"}
        return {
            "name": self.name,
            "preset": "github-actions",
            "issuer": self.issuer,
            "audience": self.audience,
            "rules": [{"match": main, "tenant": "acme", "permissions": ["notes:write"], "name": "the app's main"}],
        }
