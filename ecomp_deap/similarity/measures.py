"""The measures by name, and the losses of several probe layers at once."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from ecomp_deap.errors import argument_error
from ecomp_deap.similarity.cka import CKALoss
from ecomp_deap.similarity.distance_correlation import DistanceCorrelationLoss
from ecomp_deap.similarity.distance_mse import DistanceMSELoss
from ecomp_deap.similarity.interface import SimilarityLoss
from ecomp_deap.similarity.knn_jaccard import KNNJaccardLoss
from ecomp_deap.similarity.pkt import PKTLoss
from ecomp_deap.similarity.procrustes import ProcrustesLoss
from ecomp_deap.similarity.tsne import TSNELoss, divergences_of_children

__all__ = ["SIMILARITIES", "losses_of_children", "make_similarity", "similarity_class"]

#: Each measure by its name; all are made from the parent's embedding alone.
SIMILARITIES: Mapping[str, type[SimilarityLoss]] = MappingProxyType(
    {
        "tsne": TSNELoss,
        "cka": CKALoss,
        "distance_correlation": DistanceCorrelationLoss,
        "procrustes": ProcrustesLoss,
        "knn_jaccard": KNNJaccardLoss,
        "pkt": PKTLoss,
        "distance_mse": DistanceMSELoss,
    }
)


def similarity_class(
    similarity: str | type[SimilarityLoss], *, argument: str = "similarity"
) -> type[SimilarityLoss]:
    """Return the class of a measure that is given by its name, or as a class of one's own.

    Args:
        similarity: One of `SIMILARITIES`, or a subclass of `SimilarityLoss`.
        argument: What it is called in errors.

    Raises:
        ArgumentError: Neither; or a class that lacks a method, or a ``worst`` that is a finite
            number greater than 0.

    >>> similarity_class("cka").__name__
    'CKALoss'
    """
    if isinstance(similarity, str) and similarity in SIMILARITIES:
        return SIMILARITIES[similarity]
    if not isinstance(similarity, type) or not issubclass(similarity, SimilarityLoss):
        expected = f"one of {tuple(SIMILARITIES)}, or a subclass of SimilarityLoss"
        raise argument_error(argument, expected, similarity)
    missing = sorted(similarity.__abstractmethods__)
    if missing:
        of = f"{similarity.__name__} without {', '.join(missing)}"
        raise argument_error(argument, "a class that has all methods", of)
    worst = getattr(similarity, "worst", None)
    if isinstance(worst, bool) or not isinstance(worst, (int, float)) or not 0 < worst < math.inf:
        raise argument_error(f"{argument}: {similarity.__name__}.worst", "a number above 0", worst)
    return similarity


def make_similarity(
    name: str | type[SimilarityLoss],
    origin_embeddings: Any,
    *,
    perplexity: float | None = None,
    kernel: str = "gaussian",
) -> SimilarityLoss:
    """Return the measure of that name against the parent's embedding.

    Args:
        name: See `similarity_class`.
        origin_embeddings: See `SimilarityLoss`.
        perplexity: Of ``"tsne"`` alone, see `TSNELoss`.
        kernel: Of ``"tsne"`` alone.

    Raises:
        ArgumentError: An unknown name; an option of another measure; as the measure itself.
    """
    measure = similarity_class(name, argument="name")
    if name == "tsne":
        return TSNELoss(origin_embeddings, perplexity=perplexity, kernel=kernel)
    if perplexity is not None:
        raise argument_error("perplexity", f"None, as {_name(name)} has none", perplexity)
    if not isinstance(kernel, str) or kernel != "gaussian":
        expected = f"'gaussian', the default, as {_name(name)} has none"
        raise argument_error("kernel", expected, kernel)
    return measure(origin_embeddings)


def losses_of_children(
    losses: Sequence[SimilarityLoss], embeddings: Sequence[Sequence[torch.Tensor]]
) -> list[torch.Tensor]:
    """Return `SimilarityLoss.of_children` of several probe layers, t-SNE's computed together.

    Args:
        losses: One per probe layer.
        embeddings: For each loss the children's embeddings.

    Raises:
        ArgumentError: Not as many of one as of the other; as the measures themselves.
    """
    for argument, value in (("losses", losses), ("embeddings", embeddings)):
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise argument_error(argument, "a sequence, one per probe layer", value)
    if len(embeddings) != len(losses):
        raise argument_error("embeddings", f"{len(losses)}, one per loss", len(embeddings))
    for loss in losses:
        if not callable(getattr(loss, "of_children", None)):
            raise argument_error("losses", "similarity losses", loss)
    together = [(i, loss) for i, loss in enumerate(losses) if isinstance(loss, TSNELoss)]
    joint = divergences_of_children(
        [loss for _, loss in together], [embeddings[i] for i, _ in together]
    )
    found = {i: own for (i, _), own in zip(together, joint, strict=True)}
    return [
        found[i] if i in found else _checked(loss, loss.of_children(own), len(own))
        for i, (loss, own) in enumerate(zip(losses, embeddings, strict=True))
    ]


def _checked(loss: SimilarityLoss, found: torch.Tensor, n_children: int) -> torch.Tensor:
    """Return what a measure found, if it keeps what `SimilarityLoss` promises.

    Raises:
        ArgumentError: Not a loss for each child; or one that is worse than the worst, so that a
            child that failed would be better.
    """
    if type(loss) in SIMILARITIES.values():
        return found
    name = type(loss).__name__
    if not isinstance(found, torch.Tensor) or found.shape[:1] != (n_children,):
        got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise argument_error(f"{name}.of_children", f"a tensor of {n_children} losses", got)
    if found.numel() and float(found.detach().max()) > loss.worst * (1 + 1e-6):
        expected = f"losses of at most its worst, {loss.worst:g}"
        raise argument_error(name, expected, float(found.detach().max()))
    return found


def _name(similarity: str | type[SimilarityLoss]) -> str:
    return repr(similarity) if isinstance(similarity, str) else similarity.__name__
