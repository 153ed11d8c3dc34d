"""What the reader must know before believing a figure (pure)."""

from router.sizing.sizing import Sizing


def cautions(sizing: Sizing) -> list[str]:
    """Sentences, without a full stop; none where nothing is wrong."""
    model, wanted = sizing.model, sizing.wanted
    found = []
    if model.not_understood:
        what = "; ".join(model.not_understood)
        found.append(f"not understood: {what}. Figures may be off")
    if model.weights.unsure:
        found.append(
            "not understood: which parts of the model `quantization_config` keeps in which format. Weights may be off"
        )
    if model.context and wanted.tokens > model.context:
        found.append(f"the model's longest context is {model.context:,} tokens")
    return found
