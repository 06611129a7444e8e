"""Files of series for forecasting: tables, GluonTS's JSON lines, Monash's .tsf, a series a row.

reading.py  read_series                 wanted.py  what is asked of a source, what a reader found
columns.py  tables, and their columns   grid.py    rows with times as values of equal steps
lines.py    JSON lines                  tsf.py     Monash's format
clock.py    columns of times in seconds     arrays.py  what Python holds
roles.py    what each column is             starts.py  times from a first one
"""
