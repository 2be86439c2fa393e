"""GitLab CI: the tokens of jobs of one instance, and those of people who sign in with it.

Faithful where real bugs hide: ids and booleans are texts, a pipeline of a fork's merge request names the fork, branches
that anybody may push are not protected, and the same key signs ID tokens of people.
"""

from __future__ import annotations

from typing import Any, Final

from ..people import Person
from .base import Issuer, address, guid

PROJECT_ID: Final = "4711"
NAMESPACE_ID: Final = "72"
FORK_ID: Final = "4799"


class GitLabCI(Issuer):
    name = "gitlab-ci"
    place = "/gitlab"
    keys_place = "/gitlab/oauth/discovery/keys"
    kinds = ("id_token", "branch_token", "fork_token", "stranger_token", "person_token")

    def id_token(self, person: Person | str, *, ref: Any = "main", of: str = "acme/app", **claims: Any) -> str:
        """Of a job on a protected branch, in a pipeline that ``person`` started."""
        found = self.person(person)
        base = {
            "aud": self.audience,
            "sub": f"project_path:{of}:ref_type:branch:ref:{ref}",
            "nbf": self.now() - 5,
            "jti": guid(self.name, "jti", found.key),
            "namespace_id": NAMESPACE_ID,
            "namespace_path": of.partition("/")[0],
            "project_id": PROJECT_ID,
            "project_path": of,
            "user_id": "42",
            "user_login": found.key,
            "user_email": address(found),
            "pipeline_id": "455",
            "pipeline_source": "push",
            "job_id": "1123",
            "ref": ref,
            "ref_type": "branch",
            "ref_path": f"refs/heads/{ref}",
            "ref_protected": "true",
            "runner_id": 1,
            "runner_environment": "gitlab-hosted",
            "sha": "0" * 40,
        }
        return self.signed(base, claims, expires_in=3600)

    def branch_token(self, person: Person | str, **claims: Any) -> str:
        """Of a branch that every developer may push."""
        return self.id_token(person, **{"ref": "patch-1", "ref_protected": "false", **claims})

    def fork_token(self, person: Person | str, **claims: Any) -> str:
        """Of a merge request from a fork: the project is the fork, wherever the pipeline ran."""
        base = {"of": "mallory/app", "project_id": FORK_ID, "namespace_id": "99", "ref_protected": "false"}
        return self.id_token(person, **{**base, "pipeline_source": "merge_request_event", **claims})

    def stranger_token(self, person: Person | str, **claims: Any) -> str:
        """Of somebody else's project on the same instance, for our audience."""
        return self.id_token(person, **{"of": "mallory/app", "project_id": "666", "namespace_id": "66", **claims})

    def person_token(self, person: Person | str, **claims: Any) -> str:
        """Of somebody who signed in to an application with GitLab: issuer and key are the same."""
        found = self.person(person)
        base = {"aud": self.audience, "sub": "42", "nonce": "n-0S6_WzA2Mj", "email": address(found), "name": found.name}
        return self.signed(base, claims, expires_in=120)

    def entry(self) -> dict[str, Any]:
        main = {"project_id": PROJECT_ID, "ref": "main"}
        return {
            "name": self.name,
            "preset": "gitlab-ci",
            "issuer": self.issuer,
            "audience": self.audience,
            "rules": [{"match": main, "tenant": "acme", "permissions": ["notes:write"], "name": "the app's main"}],
        }
