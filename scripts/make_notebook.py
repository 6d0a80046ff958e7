"""Run the notebook of the documentation, and write it with its outputs, and as the page ``docs/tutorial/notebook.md``.

python scripts/make_notebook.py
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial" / "notebook.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
_INTRODUCTION = "<!-- scripts/make_notebook.py writes this page from notebook.ipynb. -->\n"


def run(folder: Path) -> Any:
    """Return the notebook with the outputs of its cells, run in ``folder``, which gets the project's test data."""
    import nbformat
    from nbclient import NotebookClient

    for file in (ROOT / "test-data").glob("*.*"):
        shutil.copy(file, folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, resources=resources)
    client.coalesce_streams = True  # printed lines are one output, however they arrive
    client.execute()
    for cell in notebook.cells:
        cell.metadata.clear()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def page(notebook: Any) -> str:
    """Return the page of a notebook with outputs: text, code, and below each piece of code what it shows."""
    return "\n".join([_INTRODUCTION, *(line for cell in notebook["cells"] for line in _cell(cell))])


def text(cell: Any) -> str:
    """Return the outputs of a cell as plain text, which is the same on every machine."""
    return "".join("".join(_data(output).get("text/plain", "")) for output in cell.get("outputs", ()))


def _cell(cell: Any) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield f"{source}\n"
        return
    yield f"```python\n{source}\n```\n"
    for output in cell["outputs"]:
        data = _data(output)
        if "text/html" in data:
            lines = (line.strip() for line in "".join(data["text/html"]).splitlines())
            yield f"<div>{''.join(line for line in lines if line)}</div>\n"  # Markdown ends HTML at an empty line
        elif "image/png" in data:
            picture = "".join(data["image/png"]).replace("\n", "")
            yield f'<img alt="What the code shows" src="data:image/png;base64,{picture}">\n'
        else:
            yield f"```text\n{''.join(data['text/plain']).rstrip()}\n```\n"


def _data(output: Any) -> dict[str, Any]:
    """Return an output by media types; printed text is plain text."""
    data: dict[str, Any] = output["data"] if "data" in output else {"text/plain": output["text"]}
    return data


def main() -> None:
    """Write the notebook and the page."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        notebook = run(Path(folder))
    nbformat.write(notebook, NOTEBOOK)
    PAGE.write_text(page(json.loads(NOTEBOOK.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
