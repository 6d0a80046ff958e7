"""Names a model of the zoo that runs here in place of a model whose weights do not."""

from ..model.spec import ModelSpec
from .index import Entry, Index, load_index


def twin_in_words(spec: ModelSpec) -> str:
    """Return the sentence that names the twin of a model, empty if the zoo has none.

    Twins have the same id or the same title. Models of similar tasks or with the same training data do not count: their
    networks differ.
    """
    twin = _twin(spec, load_index())
    if twin is None:
        return ""
    return (
        f"The model {twin.id} of the BioImage.IO zoo has the same name, {twin.name}, and weights that run here "
        f"({', '.join(twin.weights)}). Give {twin.id} as the model."
    )


def _twin(spec: ModelSpec, index: Index) -> Entry | None:
    current = index.current()
    if spec.id is not None:
        known = current.get(spec.id) or index.with_doi(spec.id)
        if known is not None:
            return known
    return next((entry for entry in current.values() if _title(entry.name) == _title(spec.name)), None)


def _title(name: str) -> str:
    return " ".join(name.casefold().split())
