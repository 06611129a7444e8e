"""Forecasting: numbers to come, with intervals, from series of one frequency."""
