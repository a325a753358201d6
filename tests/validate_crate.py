"""Validate an RO-Crate by roc-validator: `python validate_crate.py CONTEXT CRATE PROFILE SEVERITY`.

It runs in an environment of the validator's own, which wants other versions of packages than affstore. The one document
that the validator asks the network for is RO-Crate's JSON-LD context, and it is given from a file. What is wrong is
printed as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ADDRESS = "https://w3id.org/ro/crate/1.1/context"


class Answer:
    """What the server of the context would say."""

    status_code, ok, from_cache = 200, True, True
    headers = {"Content-Type": "application/ld+json"}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        self.text, self.content = text, text.encode()

    def json(self) -> Any:
        """The document."""
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        """Nothing is wrong."""


def main(context: str, crate: str, profile: str, severity: str) -> None:
    """Print what a crate has against a profile."""
    from rocrate_validator import services  # type: ignore[import-not-found,unused-ignore]
    from rocrate_validator.models import Severity  # type: ignore[import-not-found,unused-ignore]
    from rocrate_validator.utils.http import HttpRequester  # type: ignore[import-not-found,unused-ignore]

    def get(_: Any, url: str, **__: Any) -> Answer:
        if url != ADDRESS:
            raise OSError(f"The validator asks for '{url}', which is not here.")
        return Answer(Path(context).read_text(encoding="utf-8"))

    HttpRequester.get = get
    settings = services.ValidationSettings(
        rocrate_uri=crate, profile_identifier=profile, requirement_severity=Severity[severity]
    )
    found = services.validate(settings).get_issues()
    said = sorted(f"{one.check.identifier} {one.message} {one.violatingEntity or ''}" for one in found)
    sys.stdout.write(json.dumps(said, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
