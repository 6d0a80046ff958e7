"""Make the index of the zoo's PyTorch models from their descriptions: facts alone, no texts, files or test tensors.

    python scripts/make_zoo_index.py FOLDER... [--date YYYY-MM-DD] [-o FILE]
    python scripts/make_zoo_index.py --from-bioimage-io [-o FILE]

FOLDERs are searched for descriptions (``*.yaml``). A model without an id is named after the folder of its description.
The newest description of a model counts. Older descriptions are kept where they have other weights or code.
``--from-bioimage-io`` fetches today's descriptions instead. The same descriptions and date give the same bytes.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bioimage_inference.errors import BioimageInferenceError
from bioimage_inference.model.safe_yaml import load_yaml
from bioimage_inference.zoo.index import BUNDLED
from bioimage_inference.zoo.index_lines import Content, index_lines
from bioimage_inference.zoo.updating import index_text, published_descriptions, today


def main(argv: Sequence[str] | None = None) -> int:
    """Write the index. Standard error names each description that cannot be indexed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="descriptions, in any depth")
    parser.add_argument("--from-bioimage-io", action="store_true", help="fetch the descriptions from the zoo")
    parser.add_argument("--date", default=today(), metavar="DATE", help="day of the descriptions (default: today)")
    parser.add_argument("-o", "--output", type=Path, default=BUNDLED, metavar="FILE", help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    if bool(arguments.folders) == arguments.from_bioimage_io:
        parser.error("give folders of descriptions, or --from-bioimage-io")
    try:
        lines = index_lines(published_descriptions() if arguments.from_bioimage_io else read(arguments.folders))
    except BioimageInferenceError as error:
        parser.exit(1, f"{error}\n")
    text = index_text(lines, arguments.date)
    arguments.output.write_text(text, encoding="utf-8")
    print(
        f"{len({line['id'] for line in lines})} models, {len(lines)} descriptions, {len(text.encode()) / 1024:.0f} KiB"
    )
    return 0


def read(folders: Iterable[Path]) -> Iterator[tuple[str, Content]]:
    """The name and content of each model description below the folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            content = load_yaml(path.read_bytes(), str(path))
            if isinstance(content, Mapping) and {"inputs", "outputs", "weights"} <= content.keys():
                yield path.parent.name, content


if __name__ == "__main__":
    sys.exit(main())
