"""Readers and the encoder under damaged and arbitrary bytes: ``make fuzz``, and a short form among the tests.

Nothing here is random: a seed and the number of a case make the same bytes again, on every machine.
"""
