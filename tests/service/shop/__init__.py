"""The Django application of target.py."""
