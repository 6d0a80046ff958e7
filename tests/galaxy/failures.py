"""Texts that Galaxy shows for failed jobs. A tool for the tests ends with each exit code that `macros.xml` explains."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from .checks import Result
from .layout import Site
from .server import as_user

TOOL = "exit_code"
MESSAGE = "The message of the program."
TIMEOUT = 180


def explanations(site: Site) -> dict[int, str]:
    """The meaning of each exit code in the macros. The first code of a range stands for the range.

    No process ends with a negative code by itself.
    """
    macros = ET.parse(site.server / TOOL / "macros.xml").getroot()
    codes = {one.attrib["range"].split(":")[0]: one.attrib["description"] for one in macros.iter("exit_code")}
    ended = next(token.text or "" for token in macros.iter("token") if token.get("name") == "@ENDED@")
    return {int(code): text.replace("@ENDED@", ended) for code, text in codes.items() if code}


def check_failures(site: Site) -> list[Result]:
    """Run the tool with each code. The dataset must show the program's message, and the job what the code means."""
    history: str = as_user(site, "POST", "histories", {"name": "Exit codes"})["id"]
    codes = explanations(site)
    jobs = {}
    for code in codes:
        body = {"history_id": history, "tool_id": TOOL, "inputs": {"code": code}}
        made = as_user(site, "POST", "tools", body)
        jobs[code] = made["jobs"][0]["id"], made["outputs"][0]["id"]
    return [
        Result(f"exit code {code}", wrong(site, code, codes[code], *jobs[code], deadline=time.monotonic() + TIMEOUT))
        for code in codes
    ]


def wrong(site: Site, code: int, meaning: str, job_id: str, dataset_id: str, deadline: float) -> str:
    """Empty where the failed job and its dataset show all that a user needs."""
    while (job := as_user(site, "GET", f"jobs/{job_id}?full=true"))["state"] not in ("ok", "error", "deleted"):
        if time.monotonic() > deadline:
            return f"The job is still {job['state']}."
        time.sleep(0.2)
    dataset: Mapping[str, Any] = as_user(site, "GET", f"datasets/{dataset_id}")
    messages = [message["desc"] for message in job["job_messages"]]
    shown = meaning.replace("@IMAGE_FIELDS@", "the fields of the image")
    shown = shown.replace("@MEMORY_FIELDS@", "Set the fields of the memory, or contact")
    expected = {
        "the state of the job": (job["state"], "error"),
        "the state of the dataset": (dataset["state"], "error"),
        "the exit code": (job["exit_code"], code),
        "the message": (job["tool_stderr"].strip(), MESSAGE),
        "the text of the dataset": (dataset["misc_info"].strip(), MESSAGE),
        "the meaning": ([shown in message for message in messages], [True]),
    }
    return "\n".join(
        f"{what} is {found!r}, not {wanted!r}; Galaxy says {messages}"
        for what, (found, wanted) in expected.items()
        if found != wanted
    )
