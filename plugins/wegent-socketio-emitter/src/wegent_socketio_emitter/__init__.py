"""Processes that emit through python-socketio's RedisManager reach rooms of Wegent."""
