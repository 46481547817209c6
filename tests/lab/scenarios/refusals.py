"""Scenario 5 and 8."""
def before_anything_stops(_):
    """x"""
def other_subnet(_):
    """x"""
