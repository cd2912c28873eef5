"""How sure the comparison is: intervals, paired tests, seeds, the bar without audio, shuffled controls."""
