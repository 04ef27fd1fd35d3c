"""Socket.IO 5 over Engine.IO 4, on Trio; usable by itself (`SocketIOServer`)."""

from wegent.core.namespaces import Ack, Namespace
from wegent.core.sessions import Session
from wegent.transports.socketio.engineio import SocketIOConfig
from wegent.transports.socketio.server import SocketIOServer
from wegent.transports.socketio.wires import Args

__all__ = ["Ack", "Args", "Namespace", "Session", "SocketIOConfig", "SocketIOServer"]
