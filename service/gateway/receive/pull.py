"""Studies by WADO-RS (PS3.18, 10.4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx

from service.client.bounded_exchange import (
    AnswerRefusedError,
    build_client,
    open_answer,
    read_chunks,
)
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.gateway.deliver.bearer import auth_for
from service.gateway.errors import (
    SourceUnavailableError,
    UnknownStudyError,
    UnreadableObjectError,
)
from service.gateway.receive.intake import Intake, Taken
from service.gateway.receive.multipart import ReceivedParts

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Without the asterisk an archive would decompress every object."""


def pull_study(
    base_url: str,
    study_instance_uid: str,
    intake: Intake,
    *,
    timeout_s: float,
    longest_s: float,
    max_instance_bytes: int,
    max_body_bytes: int,
    token_file: Path | None = None,
) -> Iterator[Taken | None]:
    """Fetch a study, with pauses up to ``timeout_s``, and take in its objects.

    Yields:
        Each object's outcome; None if unreadable.

    Raises:
        UnknownStudyError: The archive lacks the study.
        SourceUnavailableError: The archive is unreachable or sends no objects.
    """
    url = httpx.URL(base_url)
    auth = auth_for(url, token_file)
    place = f"{url.copy_with(username=None, password=None)}".rstrip("/")
    try:
        with (
            build_client(timeout=timeout_s, trust_env=False, auth=auth) as client,
            open_answer(
                client,
                longest_s,
                method="GET",
                url=f"{place}/studies/{study_instance_uid}",
                headers={"Accept": ACCEPT},
            ) as response,
        ):
            if response.status_code in (204, 404):
                raise UnknownStudyError("The source has no such study.")
            if not response.is_success:
                raise SourceUnavailableError(
                    f"The source answered with status {response.status_code}."
                )
            yield from _take_parts(response, intake, max_instance_bytes, max_body_bytes)
    except AnswerRefusedError as error:
        raise SourceUnavailableError(
            f"The source's answer is {error.reason.replace('-', ' ')} and was not read."
        ) from None
    except httpx.HTTPError:
        raise SourceUnavailableError(
            "The source could not be reached, broke off, or did not finish in time."
        ) from None
    except (InvalidRequestError, PayloadTooLargeError):
        raise SourceUnavailableError(
            "The source's answer is malformed or larger than accepted."
        ) from None


def _take_parts(
    response: httpx.Response, intake: Intake, max_instance_bytes: int, max_body_bytes: int
) -> Iterator[Taken | None]:
    content_type = response.headers.get("content-type", "")
    with ReceivedParts(intake.spool, content_type, max_instance_bytes) as parts:
        for chunk in read_chunks(response, max_body_bytes):
            for staged in parts.write(chunk):
                with staged:
                    try:
                        yield intake.take(staged, "wado")
                    except UnreadableObjectError:
                        yield None
        parts.finish()
