"""Medians, targets and tables."""

import statistics


class Wrong(Exception):
    """What was measured did not do its work, so that its figures mean nothing."""


def median(values):
    return statistics.median(values)


def ratios(subject, yardstick):
    """Round by round."""
    return [one / other for one, other in zip(subject, yardstick, strict=True)]


def column(rounds, *path):
    """One figure of every round."""
    def follow(value):
        for key in path:
            value = value[key]
        return value

    return [follow(one) for one in rounds]


def spread(values, form="{:.2f}"):
    """Median, and least and greatest."""
    low, middle, high = (form.format(value) for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low}..{high})"


def verdict(value, sign, target):
    """`sign` is <= or >=."""
    return "met" if (value <= target if sign == "<=" else value >= target) else "NOT met"


def table(title, columns, rows, note=None):
    """Cells are texts; a row may be shorter than the head."""
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def show(it):
    print(it["title"])
    lines = [it["columns"], *it["rows"]]
    widths = [max((len(line[index]) for line in lines if index < len(line)), default=0) for index in range(len(it["columns"]))]
    for line in lines:
        # The first column holds names, the others figures.
        cells = [f"{cell:<{width}}" if index == 0 else f"{cell:>{width}}" for index, (cell, width) in enumerate(zip(line, widths))]
        print("  " + "  ".join(cells).rstrip())
    if it["note"]:
        print("  " + it["note"])
