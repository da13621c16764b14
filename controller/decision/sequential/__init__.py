"""Tests on counts that stay valid however often one looks: breach, late change, healthy.

Each test bets against a hypothesis and keeps the natural logarithm of what the bets are worth. Under the
hypothesis a fair bet never grows on average, so by Ville's inequality it reaches 1/a with probability at
most a, whenever and however often one looks. Each bet is spread over a grid of rates, so none has to be
guessed. Counts may have decimals, because increases in Prometheus are extrapolated.
"""
