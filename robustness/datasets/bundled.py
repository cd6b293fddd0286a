"""The bundled sample photographs as a dataset."""

from __future__ import annotations

from robustness.datasets.dataset import Dataset, Entry
from robustness.pictures.samples import REGISTRY, sample_bytes

SOURCE = "samples"


class Samples(Dataset):
    """The five samples; they have no labels."""

    def __init__(self) -> None:
        entries = [Entry(name, name) for name in REGISTRY.names]
        super().__init__(SOURCE, "bundled samples", entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the sample; raises ``ImageError`` where it is missing."""
        return sample_bytes(entry.place)
