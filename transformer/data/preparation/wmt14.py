"""The training text of the 2014 Workshop on Statistical Machine Translation, and its test sets.

Which files make up the corpus, their sizes and their checksums are what TensorFlow Datasets has
recorded (its translate/wmt14.py and url_checksums/wmt13, 14 and 15_translate.txt). It counts
4,508,785 (de-en) and 40,836,715 (fr-en) pairs without an empty side.
"""

from typing import NamedTuple

from transformer.data.preparation.download import Archive
from transformer.data.preparation.text import Archives, Part, SacrebleuSet

_EUROPARL = Archive(
    "https://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
    657632379,
    "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
)
_COMMON_CRAWL = Archive(
    "https://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
    918311367,
    "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
)
_UNITED_NATIONS = Archive(
    "https://www.statmt.org/wmt13/training-parallel-un.tgz",
    2365634246,
    "29141b5c1eba149a94f7a59d3b1a834b2e47fe0f8758d68dcd77a3d3f497ee47",
)
_NEWS_COMMENTARY = Archive(
    "https://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
    80418416,
    "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
)
_GIGA_FRENCH_ENGLISH = Archive(
    "https://www.statmt.org/wmt10/training-giga-fren.tar",
    2595102720,
    "3ff8319f6919393520559bfbc7ad6a747ec81b3abc7be9993b338d4b017b4d9a",
)


class Wmt14(NamedTuple):
    """A language pair: its text, and the paper's vocabulary for it (section 5.1)."""

    languages: tuple[str, str]
    train: Archives
    vocab_size: int
    vocab_type: str

    @property
    def validation(self) -> SacrebleuSet:
        """newstest2013, the paper's development set: 3,000 pairs."""
        return SacrebleuSet("wmt13", self.languages)

    @property
    def test(self) -> SacrebleuSet:
        """newstest2014: all 3,003 pairs, as scored in the literature, not the filtered 2,737."""
        return SacrebleuSet("wmt14/full", self.languages)


def _members(name: str) -> tuple[str, str]:
    return f"{name}.en", f"{name}.{name[-5:-3]}"


_EN_DE = (
    Part(_EUROPARL, _members("training/europarl-v7.de-en")),
    Part(_COMMON_CRAWL, _members("commoncrawl.de-en")),
    Part(_NEWS_COMMENTARY, _members("training/news-commentary-v9.de-en")),
)
_EN_FR = (
    Part(_EUROPARL, _members("training/europarl-v7.fr-en")),
    Part(_COMMON_CRAWL, _members("commoncrawl.fr-en")),
    Part(_UNITED_NATIONS, _members("un/undoc.2000.fr-en")),
    Part(_NEWS_COMMENTARY, _members("training/news-commentary-v9.fr-en")),
    Part(
        _GIGA_FRENCH_ENGLISH, ("giga-fren.release2.fixed.en.gz", "giga-fren.release2.fixed.fr.gz")
    ),
)

CORPORA = {
    "wmt14_en_de": Wmt14(("en", "de"), Archives(_EN_DE), 37_000, "bpe"),
    "wmt14_en_fr": Wmt14(("en", "fr"), Archives(_EN_FR), 32_000, "unigram"),
}
