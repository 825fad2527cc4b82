"""Verdicts: pure functions from readings and expectations. One file a subject.

judgements.py decides whether a value is good enough, context.py words the verdict, verdicts.py
collects all of them. A new check is a row in tables/checks.yml and a function here.
"""
