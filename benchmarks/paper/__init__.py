"""The paper's figures and tables, redrawn: ``python -m benchmarks.paper NAME ...``.

To add one, write a module ``figN.py`` or ``tableN.py`` here; its name is what the command line and
the report call it, nothing else has to know of it. It has

* a docstring: the first line is the title, the rest says what the paper shows and what is drawn;
* ``CLAIM``: what the paper says of it, in one sentence, or that we do not know;
* ``draw(setting, sheet)``: measures, at the paper's sizes or ``setting.pick(full, quick)``, draws
  on panels of the sheet, and notes rows of numbers there (the CSV) and points of curves (a second
  CSV); grid, legend and files are the frame's business;
* ``judge(rows)``: yields a `Check` for every claim. It compares those rows with the paper and
  measures nothing, so that the verdict follows from the CSV and can be tested with made-up numbers;
* ``NEEDS_DATA = True`` if it reads the folder of ``--data``; without one it is not drawn, and
  ``check(setting)`` raises FileNotFoundError if that folder lacks what it needs.
"""
