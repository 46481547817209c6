def all_of_them(_):
    """x"""
