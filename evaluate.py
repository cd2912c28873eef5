"""Stage 2C: predictions -> comparison tables.

Usage: python evaluate.py   (--help lists all options)
"""

import hydra
from omegaconf import DictConfig

from musicrec import cli, stages


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Runs the stage on the composed configuration."""
    cli.run(stages.evaluate, cfg)


if __name__ == "__main__":
    cli.start(main)
