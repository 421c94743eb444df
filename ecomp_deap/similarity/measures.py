"""The measures by name, and the losses of several probe layers at once."""

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

__all__ = ["SIMILARITIES", "losses_of_children", "make_similarity"]

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


def make_similarity(
    name: str,
    origin_embeddings: Any,
    *,
    perplexity: float | None = None,
    kernel: str = "gaussian",
) -> SimilarityLoss:
    """Return the measure of that name against the parent's embedding.

    Args:
        name: One of `SIMILARITIES`.
        origin_embeddings: See `SimilarityLoss`.
        perplexity: Of ``"tsne"`` alone, see `TSNELoss`.
        kernel: Of ``"tsne"`` alone.

    Raises:
        ArgumentError: An unknown name; an option of another measure; as the measure itself.
    """
    if not isinstance(name, str) or name not in SIMILARITIES:
        raise argument_error("name", f"one of {tuple(SIMILARITIES)}", name)
    if name == "tsne":
        return TSNELoss(origin_embeddings, perplexity=perplexity, kernel=kernel)
    if perplexity is not None:
        raise argument_error("perplexity", f"None, as {name!r} has none", perplexity)
    if not isinstance(kernel, str) or kernel != "gaussian":
        raise argument_error("kernel", f"'gaussian', the default, as {name!r} has none", kernel)
    return SIMILARITIES[name](origin_embeddings)


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
        found[i] if i in found else loss.of_children(own)
        for i, (loss, own) in enumerate(zip(losses, embeddings, strict=True))
    ]
