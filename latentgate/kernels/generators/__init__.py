"""Generators of Markov jump processes: transition matrices over any gaps, and what can be read off a generator.

Three ways to exp(Q gap), with one signature `(generators, gaps, index)`: `uniformisation` for many gaps of few generators, `scaling` for a generator of its
own to nearly every gap, `reversible` for detailed balance.
"""
