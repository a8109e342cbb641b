"""The API as another implementation sees it: grpcio and Google's protobuf over our own proto files, read here without protoc; the same
by hand-built bytes; and a small HTTP/2 client on a raw socket for what no library would send."""

import os
import re
import socket
import struct
import threading
import time
import traceback
import types

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCALARS = {"double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}
TOKEN = re.compile(r'"[^"]*"|[A-Za-z_][A-Za-z0-9_.]*|[0-9]+|[{}()<>\[\]=;,]')
FILES = ("google", "errordetails", "common", "health", "dfdaemon", "scheduler", "manager")
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0),
             ("grpc.use_local_subchannel_pool", 1), ("grpc.so_reuseport", 0)]


# ---- proto files ----

class ProtoFile:
    """One file of proto/ as a FileDescriptorProto."""

    def __init__(self, name, text, known):
        self.words = TOKEN.findall(re.sub(r"//[^\n]*", "", text))
        self.at = 0
        self.known = known
        self.enums = set()
        self.services = {}
        self.file = descriptor_pb2.FileDescriptorProto(name=name + ".proto", syntax="proto3")
        while self.at < len(self.words):
            self.top()

    def take(self, expected=None):
        word = self.words[self.at]
        self.at += 1
        if expected is not None and word != expected:
            raise ValueError("%s: %r where %r is expected" % (self.file.name, word, expected))
        return word

    def top(self):
        word = self.take()
        if word == "message":
            self.message(self.file.message_type.add(), self.file.package)
        elif word == "enum":
            self.enum(self.file.enum_type.add(), self.file.package)
        elif word == "service":
            self.service()
        elif word == "import":
            self.file.dependency.append(self.take().strip('"'))
            self.take(";")
        elif word == "package":
            self.file.package = self.take()
            self.take(";")
        else:
            while self.take() != ";":
                pass

    def enum(self, out, scope):
        out.name = self.take()
        self.known.add(scope + "." + out.name)
        out_value = {}
        self.enums.add(scope + "." + out.name)
        self.take("{")
        while self.words[self.at] != "}":
            name = self.take()
            self.take("=")
            out_value[name] = int(self.take())
            self.take(";")
        self.take("}")
        for name, number in out_value.items():
            out.value.add(name=name, number=number)

    def message(self, out, scope):
        out.name = self.take()
        scope = scope + "." + out.name
        self.known.add(scope)
        optional = []
        self.take("{")
        while self.words[self.at] != "}":
            word = self.take()
            if word == "enum":
                self.enum(out.enum_type.add(), scope)
            elif word == "message":
                self.message(out.nested_type.add(), scope)
            elif word == "reserved":
                while self.take() != ";":
                    pass
            elif word == "oneof":
                index = len(out.oneof_decl)
                out.oneof_decl.add(name=self.take())
                self.take("{")
                while self.words[self.at] != "}":
                    self.field(out, self.take(), scope).oneof_index = index
                self.take("}")
            elif word in ("optional", "repeated"):
                field = self.field(out, self.take(), scope)
                if word == "repeated":
                    field.label = 3
                else:
                    optional.append(field)
            else:
                self.field(out, word, scope)
        self.take("}")
        for field in optional:
            field.proto3_optional = True
            field.oneof_index = len(out.oneof_decl)
            out.oneof_decl.add(name="_" + field.name)

    def field(self, out, kind, scope):
        field = out.field.add(label=1)
        if kind == "map":
            self.take("<")
            key = self.take()
            self.take(",")
            value = self.take()
            self.take(">")
        field.name = self.take()
        self.take("=")
        field.number = int(self.take())
        while self.take() != ";":
            pass
        if kind == "map":
            name = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
            entry = out.nested_type.add(name=name)
            entry.options.map_entry = True
            self.typed(entry.field.add(label=1, name="key", number=1), key, scope)
            self.typed(entry.field.add(label=1, name="value", number=2), value, scope)
            field.label = 3
            field.type = 11
            field.type_name = "." + scope + "." + name
        else:
            self.typed(field, kind, scope)
        return field

    def typed(self, field, kind, scope):
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type_name = kind      # resolved when all names are known
            field.json_name = scope

    def service(self):
        name = self.file.package + "." + self.take()
        methods = {}
        self.take("{")
        while self.take() == "rpc":
            method = self.take()
            kinds = []
            for _ in range(2):
                self.take("(")
                word = self.take()
                streams = word == "stream"
                kinds.append((self.take() if streams else word, streams))
                self.take(")")
                if len(kinds) == 1:
                    self.take("returns")
            self.take(";")
            methods[method] = kinds
        self.services[name] = methods

    def resolve(self, enums):
        def find(kind, scope):
            while True:
                if scope + "." + kind in self.known:
                    return scope + "." + kind
                if "." not in scope:
                    break
                scope = scope.rsplit(".", 1)[0]
            if kind in self.known:
                return kind
            raise ValueError("%s: no type %s" % (self.file.name, kind))

        def walk(message):
            for field in message.field:
                if field.type_name and not field.type_name.startswith("."):
                    full = find(field.type_name, field.json_name)
                    field.type_name = "." + full
                    field.type = 14 if full in enums else 11
                field.ClearField("json_name")
            for nested in message.nested_type:
                walk(nested)
        for message in self.file.message_type:
            walk(message)
        self.services = {name: {m: [(find(k, self.file.package), s) for k, s in kinds] for m, kinds in methods.items()}
                         for name, methods in self.services.items()}


class Api:
    """api.common.Download(...) and so on; stub() for clients, handler() for servers."""

    def __init__(self):
        pool = descriptor_pool.DescriptorPool()
        factory = message_factory.MessageFactory(pool)
        known, enums, files = set(), set(), []
        for name in FILES:
            with open(os.path.join(ROOT, "proto", name + ".proto")) as f:
                files.append(ProtoFile(name, f.read(), known))
            enums |= files[-1].enums
        self.services = {}
        self.by_name = {}
        for name, f in zip(FILES, files):
            f.resolve(enums)
            pool.AddSerializedFile(f.file.SerializeToString())
            self.services.update(f.services)
            room = types.SimpleNamespace()
            for message in f.file.message_type:
                full = f.file.package + "." + message.name
                self.by_name[full] = factory.GetPrototype(pool.FindMessageTypeByName(full))
                setattr(room, message.name, self.by_name[full])
            setattr(self, name, room)

    def stub(self, channel, service):
        out = types.SimpleNamespace()
        for name, ((request, in_streams), (answer, out_streams)) in self.services[service].items():
            make = getattr(channel, "%s_%s" % ("stream" if in_streams else "unary", "stream" if out_streams else "unary"))
            setattr(out, name, make("/%s/%s" % (service, name), request_serializer=lambda m: m.SerializeToString(),
                                    response_deserializer=self.by_name[answer].FromString))
        return out

    def handler(self, service, functions):
        table = {}
        for name, fn in functions.items():
            (request, in_streams), (_, out_streams) = self.services[service][name]
            make = getattr(grpc,
                           "%s_%s_rpc_method_handler" % ("stream" if in_streams else "unary", "stream" if out_streams else "unary"))
            table[name] = make(fn, request_deserializer=self.by_name[request].FromString,
                               response_serializer=lambda m: m.SerializeToString())
        return grpc.method_handlers_generic_handler(service, table)


def channel_to(target):
    return grpc.insecure_channel(target, options=UNLIMITED)


def raw_call(channel, path, request, timeout=10):
    """A unary call with bytes in and out."""
    return channel.unary_unary(path, request_serializer=None, response_deserializer=None)(request, timeout=timeout)


# ---- protobuf by hand ----

def varint(n):
    out = b""
    n &= (1 << 64) - 1
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def put(number, value):
    """One field: int as varint, bytes and str with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """{number: [values]} of an encoded message: varints as int, the rest as bytes."""
    out, at = {}, 0

    def number():
        nonlocal at
        shift = value = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            size = {1: 8, 5: 4}[key & 7] if key & 7 in (1, 5) else number()
            value = data[at:at + size]
            if len(value) != size:
                raise ValueError("message is cut short")
            at += size
        out.setdefault(key >> 3, []).append(value)
    return out


# ---- HTTP/2 by hand ----

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field that is never indexed and not compressed (RFC 7541 6.2.2)."""
    def text(t):
        t = t.encode()
        if len(t) < 127:
            return bytes([len(t)]) + t
        rest, out = len(t) - 127, b"\x7f"
        return out + varint(rest) + t
    return b"\x10" + text(name) + text(value)


def call_headers(path, more=()):
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "127.0.0.1"), ("te", "trailers"),
             ("content-type", "application/grpc")] + list(more)
    return b"".join(literal(n, v) for n, v in pairs)


def message(payload):
    return b"\0" + struct.pack(">I", len(payload)) + payload


class RawH2:
    """A connection whose every frame is ours to choose."""

    def __init__(self, address, preface=True, settings=b""):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(10)
        self.socket.connect(address)
        self.pending = b""
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def try_send(self, data):
        """False when the other side has closed."""
        try:
            self.socket.sendall(data)
            return True
        except (ConnectionError, socket.timeout):
            return False

    def call(self, stream, path, payload, more=()):
        self.send(frame(HEADERS, END_HEADERS, stream, call_headers(path, more)) + frame(DATA, END_STREAM, stream, message(payload)))

    def read(self, seconds=10):
        """(kind, flags, stream, payload), None at the end of the connection, TimeoutError."""
        until = time.monotonic() + seconds
        while True:
            if len(self.pending) >= 9:
                size = int.from_bytes(self.pending[:3], "big")
                if len(self.pending) >= 9 + size:
                    kind, flags = self.pending[3], self.pending[4]
                    stream = struct.unpack(">I", self.pending[5:9])[0] & 0x7FFFFFFF
                    payload, self.pending = self.pending[9:9 + size], self.pending[9 + size:]
                    if kind == SETTINGS and not flags & ACK:
                        self.try_send(frame(SETTINGS, ACK, 0))
                    return kind, flags, stream, payload
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("no frame within %g s" % seconds)
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                raise TimeoutError("no frame within %g s" % seconds)
            except ConnectionError:
                return None
            if not more:
                return None
            self.pending += more

    def wait_for(self, kind, seconds=10, flags=0, stream=None):
        until = time.monotonic() + seconds
        while True:
            got = self.read(max(0.001, until - time.monotonic()))
            if got is None:
                raise AssertionError("connection ended before frame type %d" % kind)
            if got[0] == kind and got[1] & flags == flags and (stream is None or got[2] == stream):
                return got

    def wait_for_end(self, seconds=10):
        """Reads until the other side has ended the connection; the code of its GOAWAY, None when it said nothing."""
        code = None
        until = time.monotonic() + seconds
        while True:
            got = self.read(max(0.001, until - time.monotonic()))
            if got is None:
                return code
            if got[0] == GOAWAY:
                code = struct.unpack(">I", got[3][4:8])[0]


# ---- running ----

def run_all(tests, parallel=1, alone=()):
    """Runs the functions, several at a time, and then those that must be alone; prints what failed and the sum; the exit code."""
    lock = threading.Lock()
    pending = list(tests)
    passed, failed = [], []

    def run(test):
        began = time.monotonic()
        try:
            test()
            failure = None
        except BaseException:
            failure = traceback.format_exc()
        with lock:
            (failed if failure else passed).append(test)
            print("%s %s %.1fs" % ("FAILED" if failure else "ok", test.__name__, time.monotonic() - began), flush=True)
            if failure:
                print(failure, flush=True)

    def worker():
        while True:
            with lock:
                if not pending:
                    return
                test = pending.pop(0)
            run(test)
    threads = [threading.Thread(target=worker) for _ in range(parallel)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for test in alone:
        run(test)
    print("%d passed, %d failed" % (len(passed), len(failed)), flush=True)
    return 1 if failed or not passed else 0
