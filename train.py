"""Stage 2B: embedding + splits -> trained recommender, predictions, per-user metrics.

Usage: python train.py recommender=bert embedding=musicnn   (--help lists all options)
"""

import hydra
from omegaconf import DictConfig

from musicrec import cli, stages


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Runs the stage on the composed configuration. Returns the val NDCG for a sweeper."""
    return cli.run(stages.train, cfg)


if __name__ == "__main__":
    cli.start(main, "train")
