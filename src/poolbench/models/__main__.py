"""python -m poolbench.models            the slots of every model family of torchvision and timm, and what swap makes of
python -m poolbench.models resnet resnetv2 vgg"""

import argparse

from rich.console import Console
from rich.table import Table

from poolbench.models.families import examine, families


def main() -> None:
    """Print the table of families, then how many were swapped."""
    parser = argparse.ArgumentParser(prog="python -m poolbench.models", description=__doc__)
    parser.add_argument("family", nargs="*", help="families to look at; all where none is named")
    chosen = parser.parse_args().family
    table = Table("library", "family", "model", "slots", "pool=blur", "head=gem or token_gap")
    found = [examine(*each) for each in families() if not chosen or each[1] in chosen]
    for each in found:
        table.add_row(each.library, each.family, each.model, str(each.slots), each.pool, each.head)
    console = Console(width=None if Console().is_terminal else 240)
    console.print(table)
    console.print(f"{sum(each.swapped for each in found)} of {len(found)} families swapped")


if __name__ == "__main__":
    main()
