"""Parsing histories without times, lines of "user item item …", as published in work on sequential recommendation.

The items of a line are in order of time, and so are several lines of the same user. "user item", one pair per line, is
the special case of one item. Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018, arXiv
1808.09781) and Zhou et al., "S3-Rec" (CIKM 2020, arXiv 2008.07873) publish their data in this form.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from musicrec.data.log.formats import Layout
from musicrec.data.log.values import BadRow, LogBatch, check_rows, shown_line

# Times that encode the order: the second is the number of the line, the microsecond the index within the line.
_SECOND = 1_000_000


def parse_sequences(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the plays of a block of whole lines; lines with no item or too many are set apart."""
    users: list[bytes] = []
    items: list[bytes] = []
    lengths, numbers, bad = [], [], []
    for number, line in enumerate(block.split(b"\n")[:-1], start=first_line):
        words = line.split()
        if 2 <= len(words) <= _SECOND:
            users.append(words[0])
            items += words[1:]
            lengths.append(len(words) - 1)
            numbers.append(number)
        elif words:
            reason = "a user without an item" if len(words) == 1 else f"more than {_SECOND:,} words in a line"
            bad.append(BadRow(number, reason, shown_line(line)))
    line_of_item = np.repeat(np.arange(len(lengths)), lengths)
    index = np.arange(len(items)) - np.repeat(np.cumsum(lengths, dtype=np.int64) - lengths, lengths)
    times = (np.array(numbers, np.int64)[line_of_item] * _SECOND + index).astype("datetime64[us]")
    user_column = pa.array(users, pa.binary()).take(pa.array(line_of_item))
    batch, reasons = check_rows([user_column, pa.array(items, pa.binary()), pa.array(times)])
    bad += [BadRow(numbers[line_of_item[row]], reason, shown_line(items[row])) for row, reason in reasons.items()]
    batch.bad = sorted(bad, key=lambda row: row.line)
    return batch
