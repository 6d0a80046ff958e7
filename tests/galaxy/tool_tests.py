"""Runs the tests of a tool on a running Galaxy, as galaxy-tool-test does, but uploads each file once.

`python tool_tests.py URL USER_KEY TOOL_ID TEST_DATA REPORT`, with the Python of planemo's environment. The
administrator's key is in `GALAXY_ADMIN_KEY`.
"""

import copy
import logging
import os
import sys
import threading
from collections import defaultdict
from functools import cache
from typing import Any

from galaxy.tool_util.verify.interactor import (
    DEFAULT_TOOL_TEST_WAIT,
    GalaxyInteractorApi,
    InteractorStagingInterface,
)
from galaxy.tool_util.verify.script import Results, build_case_references, test_tools
from galaxy.util.wait import wait_on

# Tests that run at once. Most of a test is waiting for the steps of its job.
AT_ONCE = 5
# Seconds between two requests for the state of a job. An answer takes Galaxy about 0.02 s of processor time, and
# galaxy-tool-test sends four requests a second for each test.
BETWEEN_QUESTIONS = 1.0


class Interactor(GalaxyInteractorApi):
    """Galaxy's API for the tests of one tool, several at once.

    A file is uploaded for the first test that needs it, into a history of its own, and all tests take that dataset.
    """

    def __init__(self, url: str, key: str, test_data: str) -> None:
        self._of_thread = threading.local()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._datasets: dict[str, str] = {}
        super().__init__(
            galaxy_url=url, master_api_key=os.environ["GALAXY_ADMIN_KEY"], api_key=key, test_data=[test_data]
        )
        self._history = self.new_history("Files of the tests")
        self._described = cache(super().get_tool_tests)

    @property
    def uploads(self) -> dict[str, Any]:
        """The files of the test that runs in this thread."""
        return self._of_thread.uploads

    @uploads.setter
    def uploads(self, files: dict[str, Any]) -> None:
        self._of_thread.uploads = files

    def remote_to_input(self, test_data: dict[str, Any], tool_id: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the dataset of a file. The first test that needs the file uploads it."""
        name = str(sorted(test_data.items()))
        with self._locks[name]:
            if name not in self._datasets:
                files = {name: super().remote_to_input(test_data, tool_id, *args, **kwargs)}
                staging = InteractorStagingInterface(self, maxseconds=None, upload_async=False)
                staging.stage("tool", history_id=self._history, job=files, use_path_paste=False)
                self._datasets[name] = files[name]["id"]
        return {"class": "File", "galaxy_id": self._datasets[name]}

    def get_tool_tests(self, tool_id: str, tool_version: str | None = None) -> list[Any]:
        """Return Galaxy's descriptions of all tests. Galaxy reads every test for an answer: one request serves all."""
        return copy.deepcopy(self._described(tool_id, tool_version))

    def wait_for(self, func: Any, what: str = "tool test run", **kwargs: Any) -> None:
        wait_on(func, what, kwargs.get("maxseconds", DEFAULT_TOOL_TEST_WAIT), delta=BETWEEN_QUESTIONS)


def main(url: str, key: str, tool_id: str, test_data: str, report: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)-5s - %(message)s")
    log = logging.getLogger(__name__)
    log.setLevel(logging.INFO)
    interactor = Interactor(url, key, test_data)
    tests = build_case_references(interactor, tool_id, log=log)
    results = Results("Tool tests", report, galaxy_url=url)
    test_tools(interactor, tests, results, log=log, parallel_tests=AT_ONCE, history_per_test_case=True)


main(*sys.argv[1:])
