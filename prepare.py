"""Stage 2A: listening log -> plays.pqt -> data/{train,val,test}.pqt.

Usage: python prepare.py data=custom data.plays=log.tsv   (--help lists all options)
"""

import hydra
from omegaconf import DictConfig

from musicrec import cli, stages


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Runs the stage on the composed configuration."""
    cli.run(stages.prepare, cfg)


if __name__ == "__main__":
    cli.start(main)
