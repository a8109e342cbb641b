"""Connections that come from another address than loopback, for tests of what daemons take from strangers."""
import socket
import threading


def own_address():
    """An IPv4 address of this machine that is not loopback; None when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            own = s.getsockname()[0]
        except OSError:
            return None
    return None if own.startswith("127.") else own


class Relay:
    """Takes connections on loopback and passes them on to a port there, from `source`: what that end sees is a stranger."""

    def __init__(self, port, source):
        self.to, self.source = port, source
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.to), 60, source_address=(self.source, 0))
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self.open += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for s in self.open:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
