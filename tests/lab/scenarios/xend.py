def captured_streams_arrive(_):
    """x"""
