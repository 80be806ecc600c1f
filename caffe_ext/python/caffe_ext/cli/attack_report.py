"""What hotcold.py and fastgradient.py print when attacks are done."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffe_ext.reporting import format_table, pluralize
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.memory import measure_peak_memory_mib

if TYPE_CHECKING:
    from caffe_ext.runs.campaign import CampaignResult
    from caffe_ext.runs.campaign_files import ModelOutcome
    from caffe_ext.runs.summary import Spread

PASS_PROTOCOL = "PASS is as defined; summary.json also has PASS as in the BANG paper's tables"


def print_campaign(result: "CampaignResult") -> None:
    """Print the table, and where the files are."""
    done = [attack for model in result.models for attack in model.attacks]
    files = sum(len(attack.verified) for attack in done)
    good = sum(int(attack.verified.sum()) for attack in done)
    print(f"\n{format_attack_table(result.models)}\n{PASS_PROTOCOL}\n")
    if files:
        print(f"{good:,} of {files:,} PNG files are adversarial when they are read again")
    else:
        print("no adversarials were found, so that no PNG files were written")
    for path in (result.summary, *result.pictures):
        print(f"  {shorten_path(path)}")
    attacked, seconds = sum(one.images for one in done), sum(one.seconds for one in done)
    count = f"{pluralize(result.images, 'image')}, {pluralize(len(done), 'attack')}"
    print(f"{count}: {format_speed(attacked, seconds)}")


def format_speed(attacked: int, seconds: float) -> str:
    """Return how fast images were attacked, and the memory that took."""
    speed = attacked / seconds if seconds else 0
    text = f"{speed:,.{0 if speed >= 10 else 1}f} images a second"
    shown = text if seconds else "nothing was left to do"
    return f"{shown}; peak memory {measure_peak_memory_mib():,} MiB"


def format_attack_table(models: "Sequence[ModelOutcome]") -> str:
    """Return the table: a row for each model, attack, and way of counting."""
    heads = ("model", "attack", "attempted", "found", "Linf", "L2 per pixel", "PASS")
    rows = [
        (
            model.name,
            summary.title,
            f"{summary.attempted:,}",
            "–" if summary.rate is None else f"{summary.rate:.2%}",
            _format_spread(summary.linf, 1),
            _format_spread(summary.l2_per_pixel, 1),
            _format_spread(summary.pass_scores, 3),
        )
        for model in models
        for attack in model.attacks
        for summary in attack.summaries
    ]
    return format_table([heads, *rows])


def _format_spread(spread: "Spread | None", digits: int) -> str:
    """Return mean and standard deviation as the table has them."""
    return f"{spread.mean:.{digits}f} ± {spread.std:.{digits}f}" if spread else "–"
