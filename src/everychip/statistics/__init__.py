"""Statistics of chips: intervals, percentiles, comparisons, stopping, verdicts. Knows no network."""
