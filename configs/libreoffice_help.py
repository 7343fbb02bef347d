r"""LibreOffice's help, English-German: real text that needs no account, for two CPU cores.

    python experiments/prepare.py --corpus=libreoffice_help --output=data/libreoffice_help
    python experiments/train.py --config=configs/libreoffice_help.py --workdir=runs/libreoffice_help
    python experiments/evaluate.py --workdir=runs/libreoffice_help \
        --source=data/libreoffice_help/test.en --reference=data/libreoffice_help/test.de

The text comes from packages of Debian or Ubuntu, under the Mozilla Public License 2.0.
"""

from ml_collections import ConfigDict

from configs import multi30k


def get_config() -> ConfigDict:
    """What differs from `multi30k`: the text."""
    config = multi30k.get_config()
    config.data.source = "prepared"
    config.data.prepared_dir = "data/libreoffice_help"
    config.data.train = ()
    config.data.validation = ()
    return config
